# Stage 1 of the quickstart: source-only training with the paper's optimiser, from a
# backbone that knows photographs. It learns at three tenths of the rate, not the
# paper's one, because there are 700 iterations and not 35,000.
_base_ = [
    '../_base_/models/efficientnet_lite0_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/schedules/pretrain_70e.py',
    '../_base_/default_runtime.py',
]

max_iters = 700
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))))
# The paper's milestones, 45 and 60 epochs of 70, at this length.
param_scheduler = [
    dict(
        type='MultiStepLR',
        milestones=[max_iters * 45 // 70, max_iters * 60 // 70],
        gamma=0.1,
        by_epoch=False,
    )
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
