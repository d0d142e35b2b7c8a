# RegDA adds the adversarial regressor f' and its optimiser.
_base_ = ['./source_only.py']

adaptation = dict(
    type='RegDA',
    margin=4,
    trade_off=1,
    warm_start=dict(hi=0.1, lo=0.0, alpha=1.0, num_iters=1000),
)
optim_wrapper = dict(adversary=dict(optimizer=dict(lr=0.1, **_base_.sgd)))
param_scheduler = dict(adversary=_base_.decay)
