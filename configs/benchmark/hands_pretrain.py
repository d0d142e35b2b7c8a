# Stage 1 of the small frame: source-only training from scratch, with the
# paper's optimiser and schedule. The backbone is not pretrained, so it learns
# at full rate.
_base_ = [
    '../_base_/models/small_resnet18_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/schedules/pretrain_70e.py',
    '../_base_/default_runtime.py',
]

train_cfg = dict(val_interval=70 * 500)
optim_wrapper = dict(paramwise_cfg=None)
train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
custom_hooks = [dict(type='ChannelsLastHook')]
