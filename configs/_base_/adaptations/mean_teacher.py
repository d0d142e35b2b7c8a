# A mean teacher: an average of the model labels the target. No adversary.
_base_ = ['./source_only.py']

adaptation = dict(type='MeanTeacher')
