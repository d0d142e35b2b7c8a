# RHD (synthetic, labelled) to photographs of hands (unlabelled): the 400 real test
# images of Ge et al. (CVPR 2019) with their keypoints as COCO's JSON, which MMPose's
# own reader reads. Where they are: data/, or the environment variables RHD_ROOT and
# HAND_PHOTOGRAPHS_ROOT. All are left hands, as RHD's are once right ones are mirrored.
# Their boxes are the extents of the labels. Test crops are 1.25 times as large, as
# MMPose's are; training crops vary around that, from 1.16 to 1.5 times.
_base_ = ['./hands.py']

source_dataset = dict(
    type='RHDDataset', data_root='{{$RHD_ROOT:data/RHD_published_v2}}'
)
photographs = dict(
    type='BaseCocoStyleDataset',
    data_root='{{$HAND_PHOTOGRAPHS_ROOT:data/hand_photographs}}',
    ann_file='keypoints2d_coco.json',
    data_prefix=dict(img='images'),
    metainfo=dict(from_file='configs/_base_/datasets/onehand10k.py'),
)
# Consecutive frames are alike, so blocks of 50 are kept together. Gestures follow one
# another: every second block tests, which leaves some of each kind on both sides.
test = [i for i in range(400) if i // 50 % 2 == 1]
train = [i for i in range(400) if i // 50 % 2 == 0]

read = [dict(type='LoadWholeImage'), dict(type='GetBBoxCenterScale', padding=1.5)]
# Here people hold their hands up.
crop = dict(_base_.crop, rotation=60)
source_pipeline = [
    crop if one.type == crop['type'] else one for one in _base_.labeled_pipeline
]
augment = [*read, crop, _base_.warp, *_base_.recolor]
labeled_pipeline = [*augment, _base_.encode, _base_.pack]
unlabeled_pipeline = [*augment, _base_.pack]
tight = dict(type='GetBBoxCenterScale', padding=1.25)
test_pipeline = [read[0], tight, _base_.warp, _base_.pack]

labeled_source_loader = dict(dataset=dict(source_dataset, pipeline=source_pipeline))
labeled_target_loader = dict(
    dataset=dict(
        photographs,
        _delete_=True,
        indices=train,
        pipeline=labeled_pipeline,
    )
)
unlabeled_target_loader = dict(
    dataset=dict(
        dataset=dict(photographs, _delete_=True, indices=train),
        pipeline=unlabeled_pipeline,
    )
)
train_dataloader = dict(source=labeled_source_loader, target=unlabeled_target_loader)
val_dataloader = dict(
    source=dict(dataset=source_dataset),
    target=dict(
        dataset=dict(
            photographs,
            _delete_=True,
            indices=test,
            test_mode=True,
            pipeline=test_pipeline,
        )
    ),
)
