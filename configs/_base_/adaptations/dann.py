# DANN adds a domain discriminator and its optimiser.
_base_ = ['./source_only.py']

adaptation = dict(
    type='DANN',
    trade_off=1,
    warm_start=dict(hi=1.0, lo=0.0, alpha=1.0, num_iters=1000),
)
optim_wrapper = dict(adversary=dict(optimizer=dict(lr=0.01, **_base_.sgd)))
param_scheduler = dict(adversary=_base_.decay)
