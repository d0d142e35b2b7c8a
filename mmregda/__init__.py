"""Domain adaptation for keypoint detection, as a plugin of MMPose.

``import mmregda``, or ``custom_imports = dict(imports=['mmregda'])`` in a
config, repairs what keeps MMPose from importing (see
:mod:`mmregda.compat`) and registers every component in MMPose's registries.
"""

import os

# Waiting threads must not spin for long: on few cores they would slow down the data
# workers. But waking a sleeping thread takes longer than a small layer, so GNU's OpenMP
# may spin for some microseconds. It reads this when torch is first imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '2000')

from mmregda import compat  # noqa: E402
from mmregda.version import __version__  # noqa: E402

compat.apply()

# Importing registers; the order follows the dependencies.
from mmregda import codecs, datasets, evaluation, models  # noqa: E402, F401, I001
from mmregda import apis, engine, visualization  # noqa: E402, F401
from mmregda.errors import InputError  # noqa: E402

__all__ = ['InputError', '__version__', 'compat']
