# Stage 1 of the quickstart: source-only training from scratch, with the
# paper's optimiser. The backbone is not pretrained, so it learns at full rate.
_base_ = [
    '../_base_/models/small_resnet18_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/schedules/pretrain_70e.py',
    '../_base_/default_runtime.py',
]

max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# From scratch and in so few iterations Adam gets further than the paper's SGD.
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=50, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=50, end=max_iters, by_epoch=False),
]
train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
# One progress bar in place of the log, which is in the work directory.
runner_type = 'QuietRunner'
custom_hooks = [
    dict(
        type='ProgressBarHook',
        title='pretraining on the source ',
        metric='source/PCK/Avg',
    ),
]
