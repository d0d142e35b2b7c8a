# FreiHAND (real, labelled) to RHD (synthetic, unlabelled), all four versions of
# FreiHAND's images. Where they are: data/, or the environment variables
# FREIHAND_ROOT and RHD_ROOT. RHD's boxes and handedness come from its annotation,
# as in the papers.
_base_ = ['./hands.py']

source_dataset = dict(
    type='FreiHANDDataset', data_root='{{$FREIHAND_ROOT:data/FreiHAND_pub_v2}}'
)
target_dataset = dict(
    type='RHDDataset', data_root='{{$RHD_ROOT:data/RHD_published_v2}}'
)

labeled_source_loader = dict(
    dataset=dict(
        **source_dataset, pipeline=[*_base_.read_hand, *_base_.labeled_transforms]
    )
)
labeled_target_loader = dict(
    dataset=dict(
        **target_dataset, pipeline=[*_base_.read_hand, *_base_.labeled_transforms]
    )
)
unlabeled_target_loader = dict(
    dataset=dict(
        dataset=target_dataset,
        pipeline=[*_base_.read_hand, *_base_.unlabeled_transforms],
    )
)
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(
        dataset=dict(
            **source_dataset, pipeline=[*_base_.read_hand, *_base_.test_transforms]
        )
    ),
    target=dict(
        dataset=dict(
            **target_dataset, pipeline=[*_base_.read_hand, *_base_.test_transforms]
        )
    ),
)
