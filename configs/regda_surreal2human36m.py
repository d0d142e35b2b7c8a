# RegDA on SURREAL to Human3.6M with the settings of the paper: ten epochs of
# adaptation. Source-only training comes first, in the same command; later runs
# find its weights.
_base_ = ['_base_/experiments/regda_body16.py', '_base_/pairs/surreal2human36m.py']

# As in the paper the heads start anew, so psi alone goes on from stage 1.
pretrain = dict(config='source_only_surreal2human36m.py', parts=('backbone', 'neck'))
train_cfg = dict(max_iters=10 * 500)
