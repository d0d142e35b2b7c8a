# RHD (synthetic, labelled) to FreiHAND (real, unlabelled), the pair of recent tables.
# Where they are: data/, or the environment variables RHD_ROOT and FREIHAND_ROOT.
# FreiHAND publishes no boxes; these are made of its labels, as in the papers.
_base_ = ['./hands.py']

source_dataset = dict(
    type='RHDDataset', data_root='{{$RHD_ROOT:data/RHD_published_v2}}'
)
target_dataset = dict(
    type='FreiHANDDataset', data_root='{{$FREIHAND_ROOT:data/FreiHAND_pub_v2}}'
)

labeled_source_loader = dict(dataset=source_dataset)
labeled_target_loader = dict(dataset=target_dataset)
unlabeled_target_loader = dict(dataset=dict(dataset=target_dataset))
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset), target=dict(dataset=target_dataset)
)
