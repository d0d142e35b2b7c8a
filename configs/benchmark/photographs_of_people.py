# The frame of tools/benchmark.py for rendered people to photographs of athletes (LSP
# Extended), which LSPET_ROOT names.
_base_ = [
    '../_base_/experiments/embedded_body16.py',
    '../_base_/pairs/surreal2lspet_128px.py',
]

# Rendered where SURREAL_ROOT names no source. The target is no rendering, so the
# source may look as much like photographs as it can.
embedded_pair = 'people_like_photographs'
pretrain = dict(config='photographs_of_people_pretrain.py')
