# The fair baseline of the quickstart: as many further iterations on the source
# as RegDA gets, with the same start, optimisers and schedules.
_base_ = [
    '../_base_/models/efficientnet_lite0_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/adaptations/source_only.py',
    '../_base_/schedules/adapt_30e.py',
    '../_base_/default_runtime.py',
]

pretrain = dict(config='pretrain.py')

max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
# The paper's decay and warm start, set for 15,000 iterations, at this length.
time_scale = 15000 / max_iters
decay = [
    dict(type='InverseDecayLR', gamma=1e-4 * time_scale, power=0.75, by_epoch=False)
]
param_scheduler = dict(feature_extractor=decay, head=decay)

# f goes on from stage 1 as psi does, at the rate of psi. At ten times that, the
# paper's for heads that start anew, it would lose what it has learned.
optim_wrapper = dict(head=dict(optimizer=dict(lr=0.01)))

model = dict(type='DomainAdaptiveTopdown', adaptation=_base_.adaptation)
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
