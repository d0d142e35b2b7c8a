# The frame in which tools/benchmark.py compares methods on the rendered hands:
# a network that learns from scratch within minutes on two cores. The method is
# put in by the tool; schedules have the paper's length, and the tool's budget
# compresses them.
_base_ = [
    '../_base_/models/small_resnet18_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
    '../_base_/adaptations/source_only.py',
    '../_base_/schedules/adapt_30e.py',
    '../_base_/default_runtime.py',
]

# Which rendered pair it reads where RHD_ROOT and H3D_ROOT are not set.
embedded_pair = 'hands'
pretrain = dict(config='hands_pretrain.py')

train_cfg = dict(val_interval=30 * 500)
train_dataloader = dict(target=None)
model = dict(
    type='DomainAdaptiveTopdown',
    head=dict(conv_out_channels=(64,), conv_kernel_sizes=(3,)),
    adaptation=_base_.adaptation,
)
default_hooks = dict(checkpoint=dict(interval=200))
custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(type='DisparityStatisticsHook', interval=40, num_samples=64),
]
