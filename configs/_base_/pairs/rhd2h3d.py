# RHD (synthetic, labelled) to Hand-3D-Studio (real, unlabelled), in the
# folders that their authors publish. Where they are: data/, or the environment
# variables RHD_ROOT and H3D_ROOT.
_base_ = ['./hands.py']

source_dataset = dict(
    type='RHDDataset', data_root='{{$RHD_ROOT:data/RHD_published_v2}}'
)
target_dataset = dict(type='H3DDataset', data_root='{{$H3D_ROOT:data/H3D_crop}}')

labeled_source_loader = dict(dataset=source_dataset)
labeled_target_loader = dict(dataset=target_dataset)
unlabeled_target_loader = dict(dataset=dict(dataset=target_dataset))
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset), target=dict(dataset=target_dataset)
)
