# Source-only training: 70 epochs of 500 iterations, the learning rate divided
# by ten at epochs 45 and 60; the backbone learns at a tenth of it.
train_cfg = dict(type='SeededTrainLoop', max_iters=70 * 500, val_interval=500)
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [
    dict(type='MultiStepLR', milestones=[45 * 500, 60 * 500], gamma=0.1, by_epoch=False)
]
