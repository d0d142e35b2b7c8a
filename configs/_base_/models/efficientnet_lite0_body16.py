# The same small network for the 16 keypoints of a body.
_base_ = ['./efficientnet_lite0_hand21.py']

model = dict(head=dict(out_channels=16))
