# Stage 1: the ResNet-101 simple baseline, trained on RHD alone.
_base_ = ['_base_/experiments/source_only_hand21.py', '_base_/pairs/rhd2freihand.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
