# RHD (synthetic, labelled) to Hand-3D-Studio (real, unlabelled), in the
# folders that their authors publish. Where they are: data/, or the environment
# variables RHD_ROOT and H3D_ROOT.
source_root = '{{$RHD_ROOT:data/RHD_published_v2}}'
target_root = '{{$H3D_ROOT:data/H3D_crop}}'

load_source = [
    dict(type='LoadWholeImage'),
    dict(type='MirrorRightHand'),
    # The box is 1.5 times the hand already.
    dict(type='GetBBoxCenterScale', padding=1.0),
]
load_target = [
    dict(type='LoadWholeImage'),
    dict(type='WholeImageBox'),
    dict(type='GetBBoxCenterScale', padding=1.0),
]
warp = dict(type='TopdownAffine', input_size=(256, 256))
augment = [
    dict(type='RandomRotatedSubCrop', rotation=180, area=(0.6, 1.0)),
    warp,
    dict(type='ColorJitter', strength=0.25),
    dict(type='RandomGaussianBlur', max_radius=0.8),
]
encode = dict(
    type='GenerateTarget',
    encoder=dict(
        type='MSRAHeatmap', input_size=(256, 256), heatmap_size=(64, 64), sigma=2
    ),
)
pack = dict(type='PackPoseInputs')

train_loader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
val_loader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
)

source_dataset = dict(type='RHDDataset', data_root=source_root)
target_dataset = dict(type='H3DDataset', data_root=target_root)

labeled_source_loader = dict(
    **train_loader,
    dataset=dict(
        **source_dataset,
        split='train',
        pipeline=[*load_source, *augment, encode, pack],
    ),
)
# For the oracle alone.
labeled_target_loader = dict(
    **train_loader,
    dataset=dict(
        **target_dataset,
        split='train',
        pipeline=[*load_target, *augment, encode, pack],
    ),
)
unlabeled_target_loader = dict(
    **train_loader,
    dataset=dict(
        type='UnlabeledDataset',
        dataset=dict(**target_dataset, split='train', labeled=False),
        pipeline=[*load_target, *augment, pack],
    ),
)

train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(
        **val_loader,
        dataset=dict(
            **source_dataset,
            split='test',
            test_mode=True,
            pipeline=[*load_source, warp, pack],
        ),
    ),
    target=dict(
        **val_loader,
        dataset=dict(
            **target_dataset,
            split='test',
            test_mode=True,
            pipeline=[*load_target, warp, pack],
        ),
    ),
)

metrics = [
    dict(type='GroupedPCKAccuracy', groups='hand21', thr=0.05),
    dict(type='AUC'),
    dict(type='EPE'),
]
val_evaluator = dict(source=metrics, target=metrics)
