# Stage 1 of the embedded frame for photographs of hands.
_base_ = [
    '../_base_/experiments/embedded_pretrain_hand21.py',
    '../_base_/pairs/rhd2photographs_128px.py',
]

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
