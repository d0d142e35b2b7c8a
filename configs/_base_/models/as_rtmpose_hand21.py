# What a frame of the embedded hands is changed to for coordinate classification: the
# head, codec and loss of RTMPose on the last map of EfficientNet-Lite0, which stays
# at an eighth of 128 pixels, as RTMPose's does of 256.
simcc = dict(
    type='SimCCLabel',
    input_size=(128, 128),
    sigma=(4.0, 4.0),
    simcc_split_ratio=2.0,
    normalize=False,
    use_dark=False,
)
as_rtmpose = dict(
    backbone=dict(output_stride=16),
    neck=None,
    head=dict(
        _delete_=True,
        type='RTMCCHead',
        in_channels=320,
        out_channels=21,
        input_size=(128, 128),
        in_featuremap_size=(8, 8),
        simcc_split_ratio=2.0,
        final_layer_kernel_size=7,
        gau_cfg=dict(
            hidden_dims=256,
            s=128,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn='SiLU',
            use_rel_bias=False,
            pos_enc=False,
        ),
        loss=dict(
            type='KLDiscretLoss', use_target_weight=True, beta=10.0, label_softmax=True
        ),
        decoder=simcc,
    ),
)
# RTMPose trains with AdamW, at 4e-3 for batches of 256.
adamw = dict(type='AdamW', weight_decay=0.05)
from_scratch = dict(optimizer=dict(_delete_=True, lr=1e-3, **adamw))
# Rates of a fine-tuning, but for f', which starts anew.
fine_tuning = {
    player: dict(optimizer=dict(_delete_=True, lr=1e-4, **adamw))
    for player in ('feature_extractor', 'head')
}
fine_tuning_of_methods = dict(
    feature_extractor=dict(lr=1e-4, **adamw),
    head=dict(_delete_=True, lr=1e-4, **adamw),
    adversary=dict(lr=1e-3, **adamw),
)
