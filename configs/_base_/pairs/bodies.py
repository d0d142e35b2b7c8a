# Pairs of bodies: people stand more or less upright.
_base_ = ['./common.py']

read = [dict(type='LoadWholeImage'), *_base_.boxes]
crop = dict(type='RandomRotatedSubCrop', rotation=30, area=(0.6, 1.0))
train_transforms = [*read, crop, _base_.warp, *_base_.recolor]
labeled_pipeline = [*train_transforms, _base_.encode, _base_.pack]
unlabeled_pipeline = [*train_transforms, _base_.pack]
test_pipeline = [*read, _base_.warp, _base_.pack]

labeled_source_loader = dict(dataset=dict(pipeline=labeled_pipeline))
labeled_target_loader = dict(dataset=dict(pipeline=labeled_pipeline))
unlabeled_target_loader = dict(dataset=dict(pipeline=unlabeled_pipeline))
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
test_loader = dict(dataset=dict(pipeline=test_pipeline))
val_dataloader = dict(source=test_loader, target=test_loader)

metrics = [
    dict(type='GroupedPCKAccuracy', groups='body16', thr=0.05),
    dict(type='PublishedPCK', groups='body16', thr=0.05),
    *_base_.metrics,
]
val_evaluator = dict(source=metrics, target=metrics)
