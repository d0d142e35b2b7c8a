# The frame of tools/benchmark.py for the rendered hands.
_base_ = [
    '../_base_/experiments/embedded_hand21.py',
    '../_base_/pairs/rhd2h3d_128px.py',
]

# Which rendered pair it reads where RHD_ROOT and H3D_ROOT are not set.
embedded_pair = 'hands'
pretrain = dict(config='hands_pretrain.py')
