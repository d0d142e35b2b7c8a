# The upper bound of the quickstart: RegDA's frame, with the target's labels.
_base_ = ['source_only.py']

train_dataloader = dict(source=_base_.labeled_target_loader)
custom_hooks = [
    dict(
        type='ProgressBarHook',
        title='oracle                    ',
        metric='target/PCK/Avg',
    ),
]
