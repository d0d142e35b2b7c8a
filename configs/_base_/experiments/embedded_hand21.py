# The frame in which tools/benchmark.py compares methods on the rendered pairs, which a
# config adds: a network that learns within minutes on two cores, since it has seen
# photographs. The method is put in by the tool, and learns with the frame's
# `optimizers` where they name a player; schedules have the paper's length, and the
# tool's budget compresses them.
_base_ = [
    '../models/efficientnet_lite0_hand21.py',
    '../adaptations/source_only.py',
    '../schedules/adapt_30e.py',
    '../default_runtime.py',
]

train_cfg = dict(val_interval=30 * 500)
model = dict(type='DomainAdaptiveTopdown', adaptation=_base_.adaptation)
# f goes on from stage 1 as psi does, at the rate of psi. At ten times that, the
# paper's for heads that start anew, it would lose what it has learned.
optimizers = dict(head=dict(lr=0.01))
optim_wrapper = dict(head=dict(optimizer=optimizers['head']))
default_hooks = dict(checkpoint=dict(interval=200))
custom_hooks = [
    dict(type='DisparityStatisticsHook', interval=40, num_samples=64),
]
