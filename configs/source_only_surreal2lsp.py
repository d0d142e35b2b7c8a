# Stage 1: the ResNet-101 simple baseline, trained on SURREAL alone.
_base_ = [
    '_base_/models/simple_baseline_res101_body16.py',
    '_base_/pairs/surreal2lsp.py',
    '_base_/schedules/pretrain_70e.py',
    '_base_/default_runtime.py',
]

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
