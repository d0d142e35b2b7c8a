# RegDA on the quickstart's pair: the baseline's config, and the adversary.
_base_ = ['source_only.py']

optim_wrapper = dict(adversary=dict(optimizer=dict(lr=0.1, **_base_.sgd)))
param_scheduler = dict(adversary=_base_.decay)
model = dict(
    adaptation=dict(
        type='RegDA',
        margin=4,
        trade_off=1,
        warm_start=dict(hi=0.1, lo=0.0, alpha=1.0, num_iters=1000 / _base_.time_scale),
    )
)
custom_hooks = _base_.custom_hooks
custom_hooks[0].title = 'RegDA                     '
