# RegDA on SURREAL to LSP with the settings of the paper. Source-only training
# comes first, in the same command; later runs find its weights.
_base_ = ['_base_/experiments/regda_body16.py', '_base_/pairs/surreal2lsp.py']

# As in the paper the heads start anew, so psi alone goes on from stage 1.
pretrain = dict(config='source_only_surreal2lsp.py', parts=('backbone', 'neck'))
