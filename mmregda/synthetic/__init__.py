"""Renders embedded domain pairs into the layouts of published datasets."""

from .body_pair import write_body_pair, write_lsp, write_surreal
from .body_styles import CLEAN_BODIES, PHOTO_BODIES, BodyStyle
from .hand_pair import write_h3d, write_hand_pair, write_rhd
from .styles import CLEAN, PHOTO, HandStyle, Style

__all__ = [
    'CLEAN',
    'CLEAN_BODIES',
    'PHOTO',
    'PHOTO_BODIES',
    'BodyStyle',
    'HandStyle',
    'Style',
    'write_body_pair',
    'write_h3d',
    'write_hand_pair',
    'write_lsp',
    'write_rhd',
    'write_surreal',
]
