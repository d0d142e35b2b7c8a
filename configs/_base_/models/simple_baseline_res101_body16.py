# The same network for the 16 keypoints of a body.
_base_ = ['./simple_baseline_res101_hand21.py']

model = dict(head=dict(out_channels=16))
