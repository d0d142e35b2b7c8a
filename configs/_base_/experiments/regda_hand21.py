# RegDA with the settings of the paper: all but the pair and stage 1, which a config
# adds. ../../regda_rhd2h3d.py spells out the same.
_base_ = [
    '../models/simple_baseline_res101_hand21.py',
    '../adaptations/regda.py',
    '../schedules/adapt_30e.py',
    '../default_runtime.py',
]

model = dict(
    type='DomainAdaptiveTopdown',
    # The heads f and f' are drawn anew; they are deeper than stage 1's.
    head=dict(conv_out_channels=(256,), conv_kernel_sizes=(3,)),
    adaptation=_base_.adaptation,
)
custom_hooks = [*_base_.custom_hooks, dict(type='DisparityStatisticsHook')]
