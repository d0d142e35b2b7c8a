# Stage 1 of the embedded frame for photographs of people.
_base_ = [
    '../_base_/experiments/embedded_pretrain_body16.py',
    '../_base_/pairs/surreal2lspet_128px.py',
]

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
