# The same pair at 128x128 pixels.
_base_ = ['./surreal2lspet.py', './at_128px.py']

loaders = [
    _base_.labeled_source_loader,
    _base_.labeled_target_loader,
    _base_.unlabeled_target_loader,
    *_base_.train_dataloader.values(),
    *_base_.val_dataloader.values(),
]
pipelines = [one.dataset.pipeline for one in loaders]
pipelines += [_base_.unlabeled_pipeline, _base_.test_pipeline]
for loader in loaders:
    loader.update(_base_.loader_at_128px[loader.sampler.type])
for transform in sum(pipelines, []):
    transform.update(_base_.transforms_at_128px.get(transform.type, {}))
del loaders, pipelines, loader, transform
