"""Sphinx's settings: `make docs` builds the site."""

import os
import sys

from mmcv.transforms.utils import cache_randomness

sys.path.insert(0, os.path.abspath('..'))

from mmregda import __version__ as release  # noqa: E402

project = 'mmregda'
author = copyright = 'The mmregda contributors'
html_title = f'mmregda {release}'
html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['tables.css']

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx-mathjax-offline',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
]
exclude_patterns = ['_build']

myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3  # GitHub's, so that links work in both places

autodoc_typehints = 'none'  # Docstrings give types with shapes and units.
autodoc_member_order = 'bysource'
autodoc_default_options = {'show-inheritance': True}

# napoleon asks a class for what this wraps, and without an instance it raises.
_get = cache_randomness.__get__
cache_randomness.__get__ = lambda self, instance, owner=None: (
    self if instance is None else _get(self, instance, owner)
)
