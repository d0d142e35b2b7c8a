# The upper bound: the simple baseline, trained on the labelled FreiHAND.
_base_ = ['source_only_rhd2freihand.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_target_loader)
# Its domain is the target: here the target's test set chooses the checkpoint,
# as the source's does elsewhere.
default_hooks = dict(checkpoint=dict(save_best='target/PCK/Avg'))
