# The frame of hands.py, with every validator on the target several times in a run.
# `python -m mmregda.benchmark.validators` reads what it logs.
_base_ = ['hands.py', '../_base_/validators.py']

train_cfg = dict(val_interval=200)
val_evaluator = dict(target=[*_base_.val_evaluator.target, *_base_.validators])
