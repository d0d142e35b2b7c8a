# RegDA on RHD to H3D with the settings of the paper. Source-only training
# comes first, in the same command; later runs find its weights.
_base_ = [
    '_base_/models/simple_baseline_res101_hand21.py',
    '_base_/pairs/rhd2h3d.py',
    '_base_/adaptations/regda.py',
    '_base_/schedules/adapt_30e.py',
    '_base_/default_runtime.py',
]

# As in the paper the heads start anew, so psi alone goes on from stage 1.
pretrain = dict(config='source_only_rhd2h3d.py', parts=('backbone', 'neck'))

model = dict(
    type='DomainAdaptiveTopdown',
    # The heads f and f' are drawn anew; they are deeper than stage 1's.
    head=dict(conv_out_channels=(256,), conv_kernel_sizes=(3,)),
    adaptation=_base_.adaptation,
)
custom_hooks = [*_base_.custom_hooks, dict(type='DisparityStatisticsHook')]
