# SURREAL (synthetic, labelled) to Leeds Sports Pose (real, unlabelled). Where
# they are: data/, or the environment variables SURREAL_ROOT and LSP_ROOT. All
# images of LSP are the target, in training and in testing.
#
# As published, LSP is resized and padded in training and never augmented. A config
# that is to augment it as the source is (as UniFrame does) says
#   target = _base_.augmented_target_loader
#   train_dataloader = dict(target=dict(_delete_=True, **target))
_base_ = ['./bodies.py']

source_dataset = dict(
    type='SURREALDataset', data_root='{{$SURREAL_ROOT:data/surreal_processed}}'
)
target_dataset = dict(type='LSPDataset', data_root='{{$LSP_ROOT:data/lsp}}')

labeled_source_loader = dict(
    dataset=dict(
        **source_dataset, pipeline=[*_base_.read_crop, *_base_.labeled_transforms]
    )
)
labeled_target_loader = dict(
    dataset=dict(
        **target_dataset, pipeline=[*_base_.read_crop, *_base_.labeled_transforms]
    )
)
unlabeled_target_loader = dict(
    dataset=dict(
        dataset=target_dataset, pipeline=[*_base_.read_crop, *_base_.test_transforms]
    )
)
augmented_target_loader = dict(
    **_base_.train_loader,
    dataset=dict(
        type='UnlabeledDataset',
        dataset=dict(**target_dataset, split='train', labeled=False),
        pipeline=[*_base_.read_crop, *_base_.unlabeled_transforms],
    ),
)
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(
        dataset=dict(
            **source_dataset, pipeline=[*_base_.read_crop, *_base_.test_transforms]
        )
    ),
    target=dict(
        dataset=dict(
            **target_dataset, pipeline=[*_base_.read_crop, *_base_.test_transforms]
        )
    ),
)
