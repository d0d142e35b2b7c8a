# The source-only baseline of RegDA's published table (its erm.py), which is another
# than stage 1: the mean squared error of heatmaps, Adam, the whole network at one
# rate.
_base_ = ['./source_only_hand21.py']

model = dict(
    head=dict(
        # A regressed heatmap has a level: where it is nowhere positive, it shows no
        # keypoint.
        decoder=dict(type='MSRAHeatmap'),
        # Half the squared error, averaged over batch, keypoints and pixels.
        loss=dict(
            _delete_=True,
            type='KeypointMSELoss',
            use_target_weight=True,
            loss_weight=0.5,
        ),
    )
)
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='Adam', lr=1e-3), paramwise_cfg=None
)
# It says epochs 45 and 60 of 70, but steps its scheduler before the first epoch.
param_scheduler = [
    dict(type='MultiStepLR', milestones=[44 * 500, 59 * 500], gamma=0.1, by_epoch=False)
]
