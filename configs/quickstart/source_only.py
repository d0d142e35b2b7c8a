# The fair baseline of the quickstart: as many further iterations on the source
# as RegDA gets, with the same heads, optimisers and schedules.
_base_ = [
    '../_base_/models/small_resnet18_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/adaptations/source_only.py',
    '../_base_/schedules/adapt_30e.py',
    '../_base_/default_runtime.py',
]

pretrain = dict(config='pretrain.py')

max_iters = 400
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
train_dataloader = dict(target=None)
# The paper's decay and warm start, set for 15,000 iterations, at this length.
time_scale = 15000 / max_iters
decay = [
    dict(type='InverseDecayLR', gamma=1e-4 * time_scale, power=0.75, by_epoch=False)
]
param_scheduler = dict(feature_extractor=decay, head=decay)

model = dict(
    type='DomainAdaptiveTopdown',
    head=dict(conv_out_channels=(64,), conv_kernel_sizes=(3,)),
    adaptation=_base_.adaptation,
)
# One progress bar in place of the log, which is in the work directory.
runner_type = 'QuietRunner'
custom_hooks = [
    dict(
        type='ProgressBarHook',
        title='source only, continued    ',
        metric='target/PCK/Avg',
    ),
    dict(type='DisparityStatisticsHook', interval=50, num_samples=64),
]
