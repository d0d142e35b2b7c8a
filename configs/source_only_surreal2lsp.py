# Stage 1: the ResNet-101 simple baseline, trained on SURREAL alone.
_base_ = ['_base_/experiments/source_only_body16.py', '_base_/pairs/surreal2lsp.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
