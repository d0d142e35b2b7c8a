# Further training on the source alone: the fair baseline of every method, with
# its optimisers and schedules.
adaptation = dict(type='SourceOnly')

sgd = dict(type='SGD', momentum=0.9, weight_decay=1e-4, nesterov=True)
decay = [dict(type='InverseDecayLR', gamma=1e-4, power=0.75, by_epoch=False)]

optim_wrapper = dict(
    constructor='PlayerOptimWrapperConstructor',
    feature_extractor=dict(optimizer=dict(lr=0.01, **sgd)),
    head=dict(optimizer=dict(lr=0.1, **sgd)),
)
param_scheduler = dict(feature_extractor=decay, head=decay)
model_wrapper_cfg = dict(type='PlayerDistributedDataParallel')
