# SURREAL (synthetic, labelled) to Leeds Sports Pose Extended (photographs of athletes,
# unlabelled). Where they are: data/, or the environment variables SURREAL_ROOT and
# LSPET_ROOT. LSPET publishes no boxes; these are made of its labels (see the reader).
_base_ = ['./bodies.py']

source_dataset = dict(
    type='SURREALDataset', data_root='{{$SURREAL_ROOT:data/surreal_processed}}'
)
target_dataset = dict(type='LSPExtendedDataset', data_root='{{$LSPET_ROOT:data/lspet}}')

labeled_source_loader = dict(dataset=source_dataset)
labeled_target_loader = dict(dataset=target_dataset)
unlabeled_target_loader = dict(dataset=dict(dataset=target_dataset))
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset), target=dict(dataset=target_dataset)
)
