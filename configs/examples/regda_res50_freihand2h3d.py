# Adaptation added to a config of MMPose's own: FreiHAND, as MMPose trains on
# it, is the labelled source, a folder in the layout of H3D the target.
_base_ = [
    'mmpose::hand_2d_keypoint/topdown_heatmap/freihand2d/'
    'td-hm_res50_8xb64-100e_freihand2d-224x224.py'
]
custom_imports = dict(imports=['mmregda'])

# MMPose's head holds its deconvolutions, so here they belong to f. In the paper
# they are psi's: neck=dict(type='DeconvNeck', ...), deconv_out_channels=None.
model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
    head=dict(loss=dict(_delete_=True, type='KeypointKLLoss')),
)
target = dict(
    type='UnlabeledDataset',
    dataset=dict(type='H3DDataset', data_root='data/H3D_crop', labeled=False),
    # The images are the boxes. MMPose's augmentation; what makes labels is left out.
    pipeline=[
        dict(type='LoadWholeImage'),
        dict(type='WholeImageBox'),
        *_base_.train_pipeline[1:],
    ],
)
source_loader = _base_.train_dataloader
target_loader = {**_base_.train_dataloader, 'dataset': target}
train_dataloader = dict(_delete_=True, source=source_loader, target=target_loader)
train_cfg = dict(
    _delete_=True, type='DomainAdaptTrainLoop', max_iters=15000, val_interval=500
)
# MMPose's optimiser, one for each player.
optim_wrapper = dict(constructor='PlayerOptimWrapperConstructor')
param_scheduler = [dict(type='InverseDecayLR', by_epoch=False)]
model_wrapper_cfg = dict(type='PlayerDistributedDataParallel')
checkpoints = dict(type='AtomicCheckpointHook', by_epoch=False, interval=500)
default_hooks = dict(checkpoint=checkpoints)
log_processor = dict(by_epoch=False)
