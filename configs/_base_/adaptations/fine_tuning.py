# The few labelled images of the target alone: what few_labels is compared with.
_base_ = ['./source_only.py']

adaptation = dict(type='FineTuning')
num_labels = 20
