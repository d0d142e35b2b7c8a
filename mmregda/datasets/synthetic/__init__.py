"""Renders embedded domain pairs into the layouts of published datasets."""

from .hand_pair import write_h3d, write_hand_pair, write_rhd
from .styles import CLEAN, PHOTO, HandStyle, Style

__all__ = [
    'CLEAN',
    'PHOTO',
    'HandStyle',
    'Style',
    'write_h3d',
    'write_hand_pair',
    'write_rhd',
]
