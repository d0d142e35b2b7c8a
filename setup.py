"""What pyproject.toml cannot say: configs and tools go into the wheel."""

import os
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTools(build_py):
    """Puts configs and tools into ``mmregda/.mim``, as MMPose's wheel has its own."""

    def run(self):
        super().run()
        if self.editable_mode:  # They are in the checkout.
            return
        for folder in ('configs', 'tools'):
            shutil.copytree(
                folder,
                os.path.join(self.build_lib, 'mmregda', '.mim', folder),
                ignore=shutil.ignore_patterns('__pycache__'),
                dirs_exist_ok=True,
            )


setup(cmdclass=dict(build_py=BuildWithTools))
