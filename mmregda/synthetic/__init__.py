"""Renders embedded domain pairs into the layouts of published datasets."""

from .pairs import (
    write_body_pair,
    write_h3d,
    write_hand_pair,
    write_lsp,
    write_rhd,
    write_surreal,
)
from .styles import (
    CLEAN,
    CLEAN_BODIES,
    PHOTO,
    PHOTO_ATHLETES,
    PHOTO_BODIES,
    PHOTO_GESTURES,
    Style,
)

__all__ = [
    'CLEAN',
    'CLEAN_BODIES',
    'PHOTO',
    'PHOTO_ATHLETES',
    'PHOTO_BODIES',
    'PHOTO_GESTURES',
    'Style',
    'write_body_pair',
    'write_h3d',
    'write_hand_pair',
    'write_lsp',
    'write_rhd',
    'write_surreal',
]
