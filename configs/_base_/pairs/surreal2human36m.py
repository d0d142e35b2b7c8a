# SURREAL (synthetic, labelled) to Human3.6M (real, unlabelled). Where they are:
# data/, or the environment variables SURREAL_ROOT and H36M_ROOT.
_base_ = ['./bodies.py']

source_dataset = dict(
    type='SURREALDataset', data_root='{{$SURREAL_ROOT:data/surreal_processed}}'
)
target_dataset = dict(type='Human36MDataset', data_root='{{$H36M_ROOT:data/Human36M}}')

labeled_source_loader = dict(dataset=source_dataset)
labeled_target_loader = dict(dataset=target_dataset)
unlabeled_target_loader = dict(dataset=dict(dataset=target_dataset))
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset), target=dict(dataset=target_dataset)
)
