# SURREAL (synthetic, labelled) to Leeds Sports Pose (real, unlabelled). Where
# they are: data/, or the environment variables SURREAL_ROOT and LSP_ROOT. All
# images of LSP are the target, in training and in testing.
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
        dataset=target_dataset,
        pipeline=[*_base_.read_crop, *_base_.unlabeled_transforms],
    )
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
