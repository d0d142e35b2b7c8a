"""Necks."""

from mmregda.models.necks.deconv_neck import DeconvNeck

__all__ = ['DeconvNeck']
