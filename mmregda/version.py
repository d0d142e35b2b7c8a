"""The version, apart from the package, which imports all of MMPose."""

__version__ = '0.1.0'
