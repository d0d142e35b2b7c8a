# The frame of tools/benchmark.py for the rendered bodies.
_base_ = [
    '../_base_/experiments/embedded_body16.py',
    '../_base_/pairs/surreal2lsp_128px.py',
]

# Which rendered pair it reads where SURREAL_ROOT and LSP_ROOT are not set.
embedded_pair = 'bodies'
pretrain = dict(config='bodies_pretrain.py')
