# Adaptation: 10 epochs of 500 iterations.
_base_ = ['./adapt_30e.py']

train_cfg = dict(max_iters=10 * 500)
