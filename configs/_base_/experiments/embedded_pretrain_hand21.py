# Stage 1 of the embedded frame: source-only training with the paper's optimiser and
# schedule, from a backbone that knows photographs. It learns at three tenths of the
# rate, not the paper's one, because there are 900 iterations and not 35,000.
_base_ = [
    '../models/efficientnet_lite0_hand21.py',
    '../schedules/pretrain_70e.py',
    '../default_runtime.py',
]

train_cfg = dict(val_interval=70 * 500)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))))
custom_hooks = []
