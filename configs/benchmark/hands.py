# The frame in which tools/benchmark.py compares methods on the rendered hands:
# a network that learns within minutes on two cores, since it has seen photographs.
# The method is put in by the tool, and learns at the frame's `rates` where it names
# a player; schedules have the paper's length, and the tool's budget compresses them.
_base_ = [
    '../_base_/models/efficientnet_lite0_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/adaptations/source_only.py',
    '../_base_/schedules/adapt_30e.py',
    '../_base_/default_runtime.py',
]

# Which rendered pair it reads where RHD_ROOT and H3D_ROOT are not set.
embedded_pair = 'hands'
pretrain = dict(config='hands_pretrain.py')

train_cfg = dict(val_interval=30 * 500)
model = dict(type='DomainAdaptiveTopdown', adaptation=_base_.adaptation)
# f goes on from stage 1 as psi does, at the rate of psi. At ten times that, the
# paper's for heads that start anew, it would lose what it has learned.
rates = dict(head=0.01)
optim_wrapper = dict(head=dict(optimizer=dict(lr=rates['head'])))
default_hooks = dict(checkpoint=dict(interval=200))
channels_last = True
custom_hooks = [
    dict(type='DisparityStatisticsHook', interval=40, num_samples=64),
]
