# The same pair at 128x128 pixels.
_base_ = ['./surreal2lsp.py', './at_128px.py']

for loader in (
    _base_.labeled_source_loader,
    _base_.labeled_target_loader,
    _base_.unlabeled_target_loader,
    _base_.augmented_target_loader,
    *_base_.train_dataloader.values(),
    *_base_.val_dataloader.values(),
):
    loader.update(_base_.loader_at_128px[loader.sampler.type])
    for transform in loader.dataset.pipeline:
        transform.update(_base_.transforms_at_128px.get(transform.type, {}))
del loader, transform
