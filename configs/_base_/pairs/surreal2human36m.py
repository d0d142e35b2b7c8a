# SURREAL (synthetic, labelled) to Human3.6M (real, unlabelled). Where they are:
# data/, or the environment variables SURREAL_ROOT and H36M_ROOT.
_base_ = ['./bodies.py']

source_dataset = dict(
    type='SURREALDataset', data_root='{{$SURREAL_ROOT:data/surreal_processed}}'
)
target_dataset = dict(type='Human36MDataset', data_root='{{$H36M_ROOT:data/Human36M}}')

labeled_source_loader = dict(
    dataset=dict(
        **source_dataset, pipeline=[*_base_.read_crop, *_base_.labeled_transforms]
    )
)
labeled_target_loader = dict(
    dataset=dict(
        **target_dataset, pipeline=[*_base_.read_box, *_base_.labeled_transforms]
    )
)
unlabeled_target_loader = dict(
    dataset=dict(
        dataset=target_dataset,
        pipeline=[*_base_.read_box, *_base_.unlabeled_transforms],
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
            **target_dataset, pipeline=[*_base_.read_box, *_base_.test_transforms]
        )
    ),
)
