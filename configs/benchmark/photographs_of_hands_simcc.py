# The frame of the photographs of hands for coordinate classification: RTMPose's head.
_base_ = ['photographs_of_hands.py', '../_base_/models/as_rtmpose_hand21.py']

pretrain = dict(config='photographs_of_hands_simcc_pretrain.py')
model = _base_.as_rtmpose
optimizers = _base_.fine_tuning_of_methods
optim_wrapper = _base_.fine_tuning
loaders = [_base_.labeled_source_loader, _base_.labeled_target_loader]
for loader in [*loaders, _base_.train_dataloader.source]:
    for transform in loader.dataset.pipeline:
        if transform.type == 'GenerateTarget':
            transform.encoder = _base_.simcc
del loaders, loader, transform
