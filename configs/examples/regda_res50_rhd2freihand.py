# Two datasets of MMPose's that order their keypoints differently: RHD counts
# each finger from its tip, FreiHAND from its root. MMPose's KeypointConverter
# brings the source into the target's order, and its metainfo says so.
_base_ = [
    'mmpose::hand_2d_keypoint/topdown_heatmap/rhd2d/'
    'td-hm_res50_8xb64-210e_rhd2d-256x256.py'
]
custom_imports = dict(imports=['mmregda'])

model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
    head=dict(loss=dict(_delete_=True, type='KeypointKLLoss')),
)
# (keypoint of RHD, keypoint of FreiHAND)
mapping = [(0, 0)]
for root in (1, 5, 9, 13, 17):
    mapping += [(root + 3 - i, root + i) for i in range(4)]
convert = dict(type='KeypointConverter', num_keypoints=21, mapping=mapping)
source, source_val = _base_.train_dataloader, _base_.val_dataloader
for loader in (source, source_val):
    loader.dataset.metainfo = dict(from_file='configs/_base_/datasets/freihand2d.py')
    loader.dataset.pipeline.insert(1, convert)
source.dataset.data_root = source_val.dataset.data_root = '{{$RHD:data/rhd}}'

freihand = dict(type='FreiHandDataset', data_root='{{$FREIHAND:data/freihand}}')
# The source's augmentation; what makes labels is left out.
unlabeled = dict(
    type='UnlabeledDataset',
    dataset=dict(freihand, ann_file='annotations/freihand_train.json'),
    pipeline=_base_.train_pipeline,
)
target_test = dict(
    freihand,
    ann_file='annotations/freihand_test.json',
    test_mode=True,
    pipeline=_base_.val_pipeline,
)
train_dataloader = dict(
    _delete_=True, source=source, target=dict(source, dataset=unlabeled)
)
val_dataloader = dict(
    _delete_=True, source=source_val, target=dict(source_val, dataset=target_test)
)
metrics = _base_.val_evaluator
val_evaluator = dict(_delete_=True, source=metrics, target=metrics)
val_cfg = dict(type='DomainValLoop')
# MMPose's own tools/test.py tests what is validated.
test_cfg = dict(type='DomainTestLoop')
test_dataloader = test_evaluator = dict(_delete_=True)

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
del loader, root
