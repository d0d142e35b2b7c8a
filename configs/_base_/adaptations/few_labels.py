# A mean teacher, and a few labelled images of the target beside the unlabelled ones.
_base_ = ['./source_only.py']

adaptation = dict(type='FewLabels')
# How many of them tools/benchmark.py gives it.
num_labels = 20
