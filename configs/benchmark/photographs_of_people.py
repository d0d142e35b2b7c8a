# The frame of tools/benchmark.py for rendered people to photographs of athletes (LSP
# Extended), which LSPET_ROOT names.
_base_ = [
    '../_base_/experiments/embedded_body16.py',
    '../_base_/pairs/surreal2lspet_128px.py',
]

# Which rendered pair the source is of where SURREAL_ROOT is not set.
embedded_pair = 'bodies'
pretrain = dict(config='photographs_of_people_pretrain.py')
