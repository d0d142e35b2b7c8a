# Adaptation: 30 epochs of 500 iterations.
train_cfg = dict(type='DomainAdaptTrainLoop', max_iters=30 * 500, val_interval=500)
