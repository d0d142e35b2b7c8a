# RegDA on RHD to H3D for choosing settings, without the test set: the target is
# trained on and evaluated on two parts of its training set, as UniFrame splits it.
# RHD as a target has the same two splits.
_base_ = ['regda_rhd2h3d.py']

train_dataloader = dict(target=dict(dataset=dict(dataset=dict(split='train-val'))))
val_dataloader = dict(target=dict(dataset=dict(split='val')))
