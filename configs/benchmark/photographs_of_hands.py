# The frame of tools/benchmark.py for rendered hands to photographs of hands, which
# HAND_PHOTOGRAPHS_ROOT names.
_base_ = [
    '../_base_/experiments/embedded_hand21.py',
    '../_base_/pairs/rhd2photographs_128px.py',
]

# Rendered where RHD_ROOT names no source. The target is no rendering, so the
# source may look as much like photographs as it can.
embedded_pair = 'hands_like_photographs'
pretrain = dict(config='photographs_of_hands_pretrain.py')
