# RegDA on FreiHAND to RHD with the settings of the paper. Source-only training
# comes first, in the same command; later runs find its weights.
_base_ = [
    '_base_/models/simple_baseline_res101_hand21.py',
    '_base_/pairs/freihand2rhd.py',
    '_base_/adaptations/regda.py',
    '_base_/schedules/adapt_30e.py',
    '_base_/default_runtime.py',
]

pretrain = dict(config='source_only_freihand2rhd.py')

model = dict(
    type='DomainAdaptiveTopdown',
    # The heads f and f' are drawn anew; they are deeper than stage 1's.
    head=dict(conv_out_channels=(256,), conv_kernel_sizes=(3,)),
    adaptation=_base_.adaptation,
)
custom_hooks = [*_base_.custom_hooks, dict(type='DisparityStatisticsHook')]
