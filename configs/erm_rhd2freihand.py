# The source-only baseline of the published tables, trained on RHD alone.
_base_ = ['_base_/experiments/erm_hand21.py', '_base_/pairs/rhd2freihand.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
