# The ResNet-101 simple baseline with its deconvolutions as a neck, so that
# they belong to the feature extractor, and the 1x1 convolution of source-only
# training as its head.
codec = dict(
    type='GaussianHeatmap', input_size=(256, 256), heatmap_size=(64, 64), sigma=2
)

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PromptPoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        non_blocking=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=101,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
    ),
    neck=dict(type='DeconvNeck', in_channels=2048, out_channels=(256, 256, 256)),
    head=dict(
        type='HeatmapHead',
        in_channels=256,
        out_channels=21,
        deconv_out_channels=None,
        loss=dict(type='KeypointKLLoss'),
        decoder=codec,
    ),
    # The accuracy of each training batch would be computed on the CPU.
    train_cfg=dict(compute_acc=False),
    test_cfg=dict(flip_test=False),
)
