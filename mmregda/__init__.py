"""Domain adaptation for keypoint detection, as a plugin of MMPose.

``import mmregda``, or ``custom_imports = dict(imports=['mmregda'])`` in a
config, repairs what keeps MMPose from importing (see
:mod:`mmregda.compat`) and registers every component in MMPose's registries.
"""

from mmregda import compat
from mmregda.version import __version__

compat.apply()

# Importing registers; the order follows the dependencies.
from mmregda import codecs, datasets, evaluation, models  # noqa: E402, F401, I001
from mmregda import apis, engine, visualization  # noqa: E402, F401
from mmregda.errors import InputError  # noqa: E402

__all__ = ['InputError', '__version__', 'compat']
