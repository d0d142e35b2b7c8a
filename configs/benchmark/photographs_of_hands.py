# The frame of tools/benchmark.py for rendered hands to photographs of hands, which
# HAND_PHOTOGRAPHS_ROOT names.
_base_ = [
    '../_base_/experiments/embedded_hand21.py',
    '../_base_/pairs/rhd2photographs_128px.py',
]

# Which rendered pair the source is of where RHD_ROOT is not set.
embedded_pair = 'hands'
pretrain = dict(config='photographs_of_hands_pretrain.py')
