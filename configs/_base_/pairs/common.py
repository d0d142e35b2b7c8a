# What all pairs share: augmentation, loaders, metrics. hands.py and bodies.py make
# pipelines of it, and a pair adds its two datasets.
warp = dict(type='TopdownAffine', input_size=(256, 256))
recolor = [
    dict(type='ColorJitter', strength=0.25),
    dict(type='RandomGaussianBlur', max_radius=0.8),
]
encode = dict(
    type='GenerateTarget',
    encoder=dict(
        type='GaussianHeatmap', input_size=(256, 256), heatmap_size=(64, 64), sigma=2
    ),
)
pack = dict(type='PackPoseInputs')

# Boxes are the crops already, so nothing is added around them; a dataset published
# as crops has none, and its images are the boxes.
boxes = [dict(type='WholeImageBox'), dict(type='GetBBoxCenterScale', padding=1.0)]

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

labeled_source_loader = dict(**train_loader, dataset=dict(split='train'))
# For the oracle alone.
labeled_target_loader = dict(**train_loader, dataset=dict(split='train'))
unlabeled_target_loader = dict(
    **train_loader,
    dataset=dict(type='UnlabeledDataset', dataset=dict(split='train', labeled=False)),
)
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)

test_loader = dict(**val_loader, dataset=dict(split='test', test_mode=True))
val_dataloader = dict(source=test_loader, target=test_loader)
metrics = [dict(type='AUC'), dict(type='EPE')]
