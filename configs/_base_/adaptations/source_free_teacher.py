# A teacher and its student on target images alone, from a checkpoint of psi and f.
_base_ = ['./source_only.py']

adaptation = dict(
    type='SourceFreeTeacher', momentum=0.001, mask_ratio=0.5, consistent=0.1
)
