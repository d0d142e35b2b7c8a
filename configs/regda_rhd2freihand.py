# RegDA on RHD to FreiHAND with the settings of the paper. Source-only training comes
# first, in the same command; later runs find its weights.
_base_ = ['_base_/experiments/regda_hand21.py', '_base_/pairs/rhd2freihand.py']

# As in the paper the heads start anew, so psi alone goes on from stage 1.
pretrain = dict(config='source_only_rhd2freihand.py', parts=('backbone', 'neck'))
