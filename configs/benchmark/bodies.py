# The same frame for the rendered bodies.
_base_ = [
    '../_base_/models/efficientnet_lite0_body16.py',
    '../_base_/pairs/surreal2lsp_128px.py',
    '../_base_/adaptations/source_only.py',
    '../_base_/schedules/adapt_30e.py',
    '../_base_/default_runtime.py',
]

# Which rendered pair it reads where SURREAL_ROOT and LSP_ROOT are not set.
embedded_pair = 'bodies'
pretrain = dict(config='bodies_pretrain.py')

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
