# A model that you have, better on your photographs. Environment variables say
#   CONFIG      its config with the labelled source: mmpose::..., or an absolute path
#   CHECKPOINT  its weights
#   IMAGES      the folder of the target, without labels: people or hands cut out
_base_ = [
    '{{$CONFIG:mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py}}'  # noqa: E501
]
custom_imports = dict(imports=['mmregda'])
load_from = '{{$CHECKPOINT:checkpoint.pth}}'

model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
    # Heatmaps are trained as distributions, and MSE's are made one. SimCC is one:
    # leave this line out.
    head=dict(loss=dict(_delete_=True, type='KeypointKLLoss')),
)
source = _base_.train_dataloader
photographs = dict(
    type='UnlabeledImages',
    root='{{$IMAGES:data/photographs}}',
    # The source's augmentation; what makes labels is left out.
    pipeline=source.dataset.pipeline,
)
train_dataloader = dict(
    _delete_=True, source=source, target=dict(source, dataset=photographs)
)
train_cfg = dict(
    _delete_=True, type='DomainAdaptTrainLoop', max_iters=15000, val_interval=500
)
# Its optimiser, one for each player.
optim_wrapper = dict(constructor='PlayerOptimWrapperConstructor')
param_scheduler = [dict(type='InverseDecayLR', by_epoch=False)]
checkpoints = dict(type='AtomicCheckpointHook', by_epoch=False, interval=500)
default_hooks = dict(checkpoint=checkpoints)
# Those that count iterations: RTMPose's change of the pipeline counts epochs.
custom_hooks = [h for h in _base_.get('custom_hooks', []) if 'switch_epoch' not in h]
