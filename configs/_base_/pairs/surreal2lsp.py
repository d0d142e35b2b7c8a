# SURREAL (synthetic, labelled) to Leeds Sports Pose (real, unlabelled). Where
# they are: data/, or the environment variables SURREAL_ROOT and LSP_ROOT. All
# images of LSP are the target, in training and in testing.
_base_ = ['./bodies.py']

source_dataset = dict(
    type='SURREALDataset', data_root='{{$SURREAL_ROOT:data/surreal_processed}}'
)
target_dataset = dict(type='LSPDataset', data_root='{{$LSP_ROOT:data/lsp}}')

labeled_source_loader = dict(dataset=source_dataset)
labeled_target_loader = dict(dataset=target_dataset)
# As published, LSP is resized and padded in training and never augmented.
# _base_.unlabeled_pipeline augments it as the source is, as UniFrame does.
unlabeled_target_loader = dict(
    dataset=dict(dataset=target_dataset, pipeline=_base_.test_pipeline)
)
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset), target=dict(dataset=target_dataset)
)
