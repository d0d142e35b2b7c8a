# Stage 1: the ResNet-101 simple baseline, trained on FreiHAND alone.
_base_ = ['_base_/experiments/source_only_hand21.py', '_base_/pairs/freihand2rhd.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
