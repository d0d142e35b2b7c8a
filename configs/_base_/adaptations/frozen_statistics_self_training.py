# DeepLabCut's video adaptation: the start's own labels, and its statistics.
_base_ = ['./source_only.py']

adaptation = dict(type='FrozenStatisticsSelfTraining', threshold=0.1)
