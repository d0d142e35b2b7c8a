# From FreiHAND, as MMPose trains on it, to a folder of your own photographs.
# Where they are is said by environment variables:
#   FREIHAND  the labelled source, in MMPose's layout
#   IMAGES    the folder of the target, without labels: hands cut out or, with
#   BOXES     where the hands are (COCO's JSON, a CSV, detections), whole images
#   LABELS    a COCO file with the keypoints of some photographs, to measure PCK on
#   FEW       another one, for a method that learns from them (FewLabels)
_base_ = [
    'mmpose::hand_2d_keypoint/topdown_heatmap/freihand2d/'
    'td-hm_res50_8xb64-100e_freihand2d-224x224.py'
]
custom_imports = dict(imports=['mmregda'])

model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
    head=dict(loss=dict(_delete_=True, type='KeypointKLLoss')),
)
source, source_val = _base_.train_dataloader, _base_.val_dataloader
source.dataset.data_root = source_val.dataset.data_root = '{{$FREIHAND:data/freihand}}'
boxes = '{{$BOXES:none}}'
images = '{{$IMAGES:data/photographs}}'
photographs = dict(
    type='UnlabeledImages',
    root=images,
    boxes=None if boxes == 'none' else boxes,
    metainfo='hand21',
)
# MMPose's augmentation; what makes labels is left out.
augment = _base_.train_pipeline
predict = [dict(type='LoadWholeImage'), *_base_.val_pipeline[1:]]
target = dict(source, dataset=dict(photographs, pipeline=augment))
# Without labels nothing can be measured on the target; eight of its images are drawn.
shown = dict(photographs, indices=8, test_mode=True, pipeline=predict)
train_dataloader = dict(_delete_=True, source=source, target=target)
val_dataloader = dict(
    _delete_=True, source=source_val, target=dict(source_val, dataset=shown)
)
val_evaluator = dict(_delete_=True, source=_base_.val_evaluator, target=[])
labels, few = '{{$LABELS:none}}', '{{$FEW:none}}'
labelled = dict(
    type='CocoDataset',
    data_mode='topdown',
    data_prefix=dict(img=images),
    metainfo=dict(from_file='configs/_base_/datasets/freihand2d.py'),
)
if labels != 'none':
    val_dataloader['target']['dataset'] = dict(
        labelled, ann_file=labels, test_mode=True, pipeline=predict
    )
    val_evaluator['target'] = _base_.val_evaluator
if few != 'none':
    train_dataloader['labeled_target'] = dict(
        source,
        dataset=dict(labelled, ann_file=few, pipeline=[predict[0], *augment[1:]]),
    )
val_cfg = dict(type='DomainValLoop')
test_dataloader = dict(dataset=dict(photographs, _delete_=True, pipeline=predict))
test_evaluator = []
custom_hooks = [dict(type='DomainVisualizationHook', num_samples=8)]

train_cfg = dict(
    _delete_=True, type='DomainAdaptTrainLoop', max_iters=15000, val_interval=500
)
# MMPose's optimiser, one for each player.
optim_wrapper = dict(constructor='PlayerOptimWrapperConstructor')
param_scheduler = [dict(type='InverseDecayLR', by_epoch=False)]
model_wrapper_cfg = dict(type='PlayerDistributedDataParallel')
checkpoints = dict(
    type='AtomicCheckpointHook', by_epoch=False, interval=500, save_best='source/AUC'
)
default_hooks = dict(checkpoint=checkpoints)
log_processor = dict(by_epoch=False)
