# What every run has in common: the plugin, hooks, logging, validation on both
# domains.
custom_imports = dict(imports=['mmregda'], allow_failed_imports=False)
default_scope = 'mmpose'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The labels of the target are not ours to look at: the best checkpoint is
    # the best on the source.
    checkpoint=dict(
        type='AtomicCheckpointHook',
        by_epoch=False,
        interval=500,
        max_keep_ckpts=2,
        save_best='source/PCK/Avg',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [dict(type='DomainVisualizationHook', num_samples=4)]

env_cfg = dict(
    cudnn_benchmark=True,
    # OpenCV and every worker would otherwise start a thread for each core.
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # For so many seconds a process waits for the others before it gives them up.
    dist_cfg=dict(backend='nccl', timeout=600),
)

visualizer = dict(
    type='PoseLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    radius=2,
    line_width=1,
)
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)

val_cfg = dict(type='DomainValLoop')
# MMPose's own tools/test.py tests what is validated.
test_cfg = dict(type='DomainTestLoop')
test_dataloader = dict()
test_evaluator = dict()
