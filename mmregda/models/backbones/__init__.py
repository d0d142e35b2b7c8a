"""Backbones."""

from mmregda.models.backbones.timm_backbone import TimmBackbone

__all__ = ['TimmBackbone']
