# What pairs of bodies share: people stand more or less upright.
_base_ = ['./common.py']

crop = dict(type='RandomRotatedSubCrop', rotation=30, area=(0.6, 1.0))
unlabeled_transforms = [crop, _base_.warp, *_base_.recolor, _base_.pack]
labeled_transforms = [crop, _base_.warp, *_base_.recolor, _base_.encode, _base_.pack]
test_transforms = [_base_.warp, _base_.pack]

metrics = [
    dict(type='GroupedPCKAccuracy', groups='body16', thr=0.05),
    dict(type='PublishedPCK', groups='body16', thr=0.05),
    *_base_.metrics,
]
val_evaluator = dict(source=metrics, target=metrics)
