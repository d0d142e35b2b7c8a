# FDA: source images take the low frequencies of target images.
_base_ = ['./source_only.py']

adaptation = dict(type='FDA', beta=0.01)
