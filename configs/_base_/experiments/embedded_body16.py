# The same for the 16 keypoints of a body.
_base_ = ['./embedded_hand21.py']

model = dict(head=dict(out_channels=16))
