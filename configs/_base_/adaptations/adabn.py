# AdaBN: the baseline, with the target's statistics in batch normalisation.
_base_ = ['./source_only.py']

adaptation = dict(type='AdaBN')
