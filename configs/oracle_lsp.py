# The upper bound: the simple baseline, trained on the labelled LSP. LSP
# has no split, so this one has seen the very images that it is tested on.
_base_ = ['source_only_surreal2lsp.py']

train_dataloader = dict(_delete_=True, **_base_.labeled_target_loader)
# Its domain is the target: here the target's test set chooses the checkpoint,
# as the source's does elsewhere.
default_hooks = dict(checkpoint=dict(save_best='target/PCK/Avg'))
