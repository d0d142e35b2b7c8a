# RHD (synthetic, labelled) to Hand-3D-Studio (real, unlabelled), in the
# folders that their authors publish. Where they are: data/, or the environment
# variables RHD_ROOT and H3D_ROOT.
_base_ = ['./hands.py']

source_dataset = dict(
    type='RHDDataset', data_root='{{$RHD_ROOT:data/RHD_published_v2}}'
)
target_dataset = dict(type='H3DDataset', data_root='{{$H3D_ROOT:data/H3D_crop}}')

labeled_source_loader = dict(
    dataset=dict(
        **source_dataset, pipeline=[*_base_.read_hand, *_base_.labeled_transforms]
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
            **source_dataset, pipeline=[*_base_.read_hand, *_base_.test_transforms]
        )
    ),
    target=dict(
        dataset=dict(
            **target_dataset, pipeline=[*_base_.read_crop, *_base_.test_transforms]
        )
    ),
)
