# ViTPose-S as MMPose trains it on COCO, adapted to your photographs of people; with
# mmpretrain's ViT or, where that is not installed, with timm's.
#   IMAGES  the folder of the target, without labels, and
#   BOXES   where people are in it (COCO's JSON, a CSV, detections)
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/'
    'td-hm_ViTPose-small_8xb64-210e_coco-256x192.py'
]
from importlib.util import find_spec  # noqa: E402

custom_imports = dict(imports=['mmregda'])

model = dict(
    type='DomainAdaptiveTopdown',
    adaptation=dict(type='RegDA'),
    # MMPose's preprocessing, for which a GPU waits less.
    data_preprocessor=dict(type='PromptPoseDataPreprocessor', non_blocking=True),
    head=dict(loss=dict(_delete_=True, type='KeypointKLLoss')),
)
# MMPose's optimiser, with its decay by layer, for each player.
optim_wrapper = dict(
    constructor='PlayerOptimWrapperConstructor',
    player_constructor='LayerDecayOptimWrapperConstructor',
)
if find_spec('mmpretrain') is None:
    model['backbone'] = dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='vit_small_patch16_224.dino',
        pretrained=True,
        img_size=(256, 192),
        drop_path_rate=0.1,
    )
    # The same decay by the names that timm gives to layers.
    rates = {f'.blocks.{i}.': dict(lr_mult=0.8 ** (12 - i)) for i in range(12)}
    rates.update({'.patch_embed.': dict(lr_mult=0.8**13)})
    optim_wrapper.pop('player_constructor')
    optim_wrapper['paramwise_cfg'] = dict(_delete_=True, custom_keys=rates)

source = _base_.train_dataloader
photographs = dict(
    type='UnlabeledImages',
    root='{{$IMAGES:data/photographs}}',
    boxes='{{$BOXES:data/photographs.csv}}',
    metainfo='coco17',
    pipeline=_base_.train_pipeline,  # what makes labels is left out
)
train_dataloader = dict(
    _delete_=True, source=source, target=dict(source, dataset=photographs)
)
train_cfg = dict(
    _delete_=True, type='DomainAdaptTrainLoop', max_iters=15000, val_interval=500
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=500),
    dict(type='InverseDecayLR', by_epoch=False, begin=500),
]
checkpoints = dict(type='AtomicCheckpointHook', by_epoch=False, interval=500)
default_hooks = dict(checkpoint=checkpoints)
del find_spec
