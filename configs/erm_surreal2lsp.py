# The source-only baseline of the published tables, trained on SURREAL alone.
_base_ = ['_base_/experiments/erm_body16.py', '_base_/pairs/surreal2lsp.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_source_loader)
