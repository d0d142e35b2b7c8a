# The frame of the rendered hands for coordinate classification: RTMPose's head.
_base_ = ['hands.py', '../_base_/models/as_rtmpose_hand21.py']

pretrain = dict(config='hands_simcc_pretrain.py')
model = _base_.as_rtmpose
# Rates of a fine-tuning, but for f', which starts anew.
optimizers = dict(
    feature_extractor=dict(lr=1e-4, **_base_.adamw),
    head=dict(_delete_=True, lr=1e-4, **_base_.adamw),
    adversary=dict(lr=1e-3, **_base_.adamw),
)
optim_wrapper = {
    player: dict(optimizer=dict(_delete_=True, lr=1e-4, **_base_.adamw))
    for player in ('feature_extractor', 'head')
}
loaders = [_base_.labeled_source_loader, _base_.labeled_target_loader]
for loader in [*loaders, _base_.train_dataloader.source]:
    for transform in loader.dataset.pipeline:
        if transform.type == 'GenerateTarget':
            transform.encoder = _base_.simcc
del loaders, loader, transform
