# The same small network for the 16 keypoints of a body.
_base_ = ['./small_resnet18_hand21.py']

model = dict(head=dict(out_channels=16))
