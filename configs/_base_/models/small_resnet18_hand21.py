# A network that learns from scratch in minutes on two CPU cores: ResNet-18 of
# half the width, 64-channel deconvolutions, 128x128 pixels.
_base_ = ['./simple_baseline_res101_hand21.py']

codec = dict(
    _delete_=True,
    type='GaussianHeatmap',
    input_size=(128, 128),
    heatmap_size=(32, 32),
    sigma=1.5,
)
model = dict(
    backbone=dict(depth=18, stem_channels=32, base_channels=32, init_cfg=None),
    neck=dict(in_channels=256, out_channels=(64, 64, 64)),
    head=dict(in_channels=64, decoder=codec),
)
