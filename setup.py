"""Installs mmregda; ``make venv`` builds a whole environment around it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_version():
    """Read the version without importing: mmregda imports all of MMPose."""
    source = (HERE / 'mmregda' / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", source, re.MULTILINE)[1]


def read_description():
    readme = HERE / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


setup(
    name='mmregda',
    version=read_version(),
    description='Unsupervised domain adaptation of keypoint models, as an '
    'MMPose plugin',
    long_description=read_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmregda', 'mmregda.*']),
    include_package_data=True,
    python_requires='>=3.8',
    # Nothing, on purpose. Whoever has a working MMPose keeps the very PyTorch,
    # NumPy and mmcv they have: any requirement named here would let pip move
    # them, and mmpose's own requirements no longer install. What is missing is
    # said at import, with the command that installs it (mmregda.compat).
    install_requires=[],
)
