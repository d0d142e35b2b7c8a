# MCD adds a second head of equal standing and its optimiser.
_base_ = ['./source_only.py']

adaptation = dict(type='MCD', trade_off=1, num_steps=4)
optim_wrapper = dict(adversary=dict(optimizer=dict(lr=0.1, **_base_.sgd)))
param_scheduler = dict(adversary=_base_.decay)
