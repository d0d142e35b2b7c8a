"""For tools that still run it; pyproject.toml says all there is to say."""

from setuptools import setup

setup()
