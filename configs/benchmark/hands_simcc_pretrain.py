# Stage 1 of the embedded frame for coordinate classification of hands.
_base_ = ['hands_pretrain.py', '../_base_/models/as_rtmpose_hand21.py']

model = _base_.as_rtmpose
optim_wrapper = _base_.from_scratch
for transform in _base_.train_dataloader.dataset.pipeline:
    if transform.type == 'GenerateTarget':
        transform.encoder = _base_.simcc
del transform
