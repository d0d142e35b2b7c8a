# RTMPose-m as MMPose trains it on COCO, adapted to your photographs of people.
#   CHECKPOINT  its weights, such as those of MMPose's model zoo
#   IMAGES      the folder of the target, without labels, and
#   BOXES       where people are in it (COCO's JSON, a CSV, detections)
_base_ = ['mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py']
from mmregda.datasets import mmpose_alone  # noqa: E402

custom_imports = dict(imports=['mmregda'])
load_from = '{{$CHECKPOINT:rtmpose-m_coco.pth}}'

model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    backbone=dict(_scope_='mmpose'),  # which has a copy of MMDetection's
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
)
train_pipeline = mmpose_alone(_base_.train_pipeline)
labelled = dict(_base_.train_dataloader.dataset, pipeline=train_pipeline)
source = dict(_base_.train_dataloader, batch_size=64, dataset=labelled)
photographs = dict(
    type='UnlabeledImages',
    root='{{$IMAGES:data/photographs}}',
    boxes='{{$BOXES:data/photographs.csv}}',
    metainfo='coco17',
    pipeline=train_pipeline,  # what makes labels is left out
)
train_dataloader = dict(
    _delete_=True, source=source, target=dict(source, dataset=photographs)
)
train_cfg = dict(
    _delete_=True, type='DomainAdaptTrainLoop', max_iters=15000, val_interval=500
)
# RTMPose's AdamW for each player, at an eighth of its rate, which is for 1,024 images:
# here there are 64 of each domain.
optim_wrapper = dict(
    constructor='PlayerOptimWrapperConstructor',
    optimizer=dict(lr=_base_.base_lr / 8),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(type='InverseDecayLR', by_epoch=False, begin=500),
]
checkpoints = dict(type='AtomicCheckpointHook', by_epoch=False, interval=500)
default_hooks = dict(checkpoint=checkpoints)
custom_hooks = _base_.custom_hooks[:1]  # EMA; the other counts epochs
