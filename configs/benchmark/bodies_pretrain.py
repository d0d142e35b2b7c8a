# Stage 1 of the small frame for bodies.
_base_ = [
    '../_base_/models/efficientnet_lite0_body16.py',
    '../_base_/pairs/surreal2lsp_128px.py',
    '../_base_/schedules/pretrain_70e.py',
    '../_base_/default_runtime.py',
]

train_cfg = dict(val_interval=70 * 500)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))))
train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
custom_hooks = []
channels_last = True
