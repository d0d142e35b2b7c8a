# The source-only baseline of the published tables, trained on FreiHAND alone.
_base_ = ['_base_/experiments/erm_hand21.py', '_base_/pairs/freihand2rhd.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
