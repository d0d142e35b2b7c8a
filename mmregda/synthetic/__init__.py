"""Renders embedded domain pairs into the layouts of published datasets."""

from .hand_pair import write_h3d, write_hand_pair, write_rhd
from .styles import CLEAN, CLEAN_BODIES, PHOTO, PHOTO_BODIES, Style

# isort: split
from .body_pair import write_body_pair, write_lsp, write_surreal
