# The same pair at 128x128 pixels and in batches of 16, for small networks and
# short training: at equal cost, more and smaller steps learn more.
_base_ = ['./rhd2h3d.py']

labeled_source_loader = _base_.labeled_source_loader
labeled_target_loader = _base_.labeled_target_loader
unlabeled_target_loader = _base_.unlabeled_target_loader
val_dataloader = _base_.val_dataloader

for loader in (
    labeled_source_loader,
    labeled_target_loader,
    unlabeled_target_loader,
    *val_dataloader.values(),
):
    for transform in loader.dataset.pipeline:
        if transform.type == 'TopdownAffine':
            transform.input_size = (128, 128)
        elif transform.type == 'GenerateTarget':
            transform.encoder.update(
                input_size=(128, 128), heatmap_size=(32, 32), sigma=1.5
            )
    # Two cores: one worker for each domain, beside the training itself.
    loader.num_workers = 1
    if loader.sampler.type == 'InfiniteSampler':
        loader.batch_size = 16
del loader, transform

train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
