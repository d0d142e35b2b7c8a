# DAN adds a loss on the features and no network.
_base_ = ['./source_only.py']

adaptation = dict(type='DAN', trade_off=1)
