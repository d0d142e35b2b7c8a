"""Checkpoints that are written whole."""

from __future__ import annotations

import os
from contextlib import suppress
from glob import escape, glob
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import torch
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpose.registry import HOOKS

from mmregda.engine.checkpoints import (
    NOTE,
    RUN_ID,
    identify,
)
from mmregda.engine.distributed import unwrap
from mmregda.engine.start import begin, domains_of
from mmregda.errors import InputError
from mmregda.files import atomic_write


class AtomicBackend(LocalBackend):
    """The local disk, on which a file is whole or as it was before.

    Attributes:
        outdated (list[str]): What was removed. It is there until its owner
            has written what takes its place.
    """

    def __init__(self) -> None:
        self.outdated: List[str] = []

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes; arguments as in :class:`LocalBackend`."""
        with atomic_write(filepath) as partial:
            super().put(obj, partial)

    def remove(self, filepath: Union[str, Path]) -> None:
        """Note a file as outdated."""
        self.outdated.append(os.fspath(filepath))


register_backend('atomic', AtomicBackend, force=True)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, whose files survive being interrupted.

    Arguments are those of :class:`mmengine.hooks.CheckpointHook`. Other than
    there, on a local disk,

    - a checkpoint appears under its name when it is complete, and
      ``last_checkpoint`` names it after that;
    - older checkpoints, and the best before, are removed after that, so there
      has to be room for one more than are kept;
    - a checkpoint that is due when a validation is due is written after it and
      holds its results: a training that is resumed never misses one;
    - weights that are not finite are not written;
    - a resumed training begins with the newest checkpoint that can be read;
    - ``save_best`` by the source chooses nothing where there is no source.
    """

    _due: Optional[Tuple[int, dict]] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args:  # With which MMEngine would fail at the first checkpoint.
            raise InputError(f'checkpoint hook: it takes no {", ".join(self.args)}')

    def _init_rule(self, rules: List[Optional[str]], key_indicators: List[str]) -> None:
        try:
            super()._init_rule(rules, key_indicators)
        except (KeyError, ValueError) as error:
            raise InputError(
                f'checkpoint hook: of save_best={self.save_best!r} it is not known '
                'whether more or less is better. Set rule="greater" or rule="less" '
                f'beside it ({error}).'
            ) from error

    def before_run(self, runner: Runner) -> None:
        """Find the checkpoint to resume from, if none is named."""
        if runner._resume:
            begin(runner)  # Unless a loop of this package has.
        self.choose_without_source(
            domains_of(unwrap(runner.model)), getattr(runner.val_loop, 'loops', ())
        )

    def choose_without_source(self, drawn: Iterable, validated: Iterable) -> None:
        """Let the source choose no checkpoint where none is drawn from or validated.

        Shipped configs name it, and a run without a source need not say otherwise.
        """
        if 'source' in drawn or 'source' in validated or not self.save_best:
            return
        if all(key.startswith('source/') for key in self.save_best):
            print_log(
                f'There is no source: {" and ".join(self.save_best)} chooses no '
                'checkpoint, and the last ones are kept.',
                logger='current',
            )
            self.save_best = None

    def before_train(self, runner: Runner) -> None:
        """Remove what a training that was killed could not."""
        place = self.out_dir or runner.work_dir
        remote = self.backend_args or self.file_client_args
        if not remote and type(get_file_backend(place)) is LocalBackend:
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        if is_main_process():
            identify(runner)
        hub = runner.message_hub
        # MMEngine forgets it, and then does not save what it would have saved.
        self.last_ckpt = hub.get_info('last_ckpt')
        if isinstance(self.file_backend, AtomicBackend):
            for folder in {self.out_dir, runner.work_dir} if is_main_process() else ():
                for name in ('*.pth', NOTE, RUN_ID):
                    for path in glob(os.path.join(escape(folder), f'{name}.*partial')):
                        with suppress(FileNotFoundError):
                            os.remove(path)
            # Resumed from elsewhere, the names are those of another run's files.
            if os.path.dirname(self.last_ckpt or '') == self.out_dir:
                left = hub.get_info('outdated_ckpts') or ()
                self.file_backend.outdated += map(str, left)
            self._remove_outdated()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Save what is due still: the validation was called off."""
        self._save_due(runner)

    def after_train(self, runner: Runner) -> None:
        """Save what is due still: not all releases validate at the end."""
        self._save_due(runner)
        super().after_train(runner)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Save the best checkpoint, and the one that is due."""
        super().after_val_epoch(runner, metrics or {})
        self._save_due(runner)
        self._remove_outdated()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite.

        Raises:
            InputError: With the name of the first of them.
        """
        parameters = {name for name, _ in unwrap(runner.model).named_parameters()}
        for name, tensor in checkpoint['state_dict'].items():
            # A mask that is minus infinity is a buffer, and in its right.
            finite = name in parameters or 'running_' in name
            spoiled = torch.isnan(tensor) | (torch.isinf(tensor) & finite)
            if spoiled.any():
                before = f'as it was: {self.last_ckpt}' if self.last_ckpt else 'none'
                raise InputError(
                    f'after {checkpoint["meta"]["iter"]} iterations "{name}" is not '
                    f'finite and not saved. The last checkpoint is {before}. The '
                    'learning rate may be too high.'
                )

    def _save_checkpoint(self, runner: Runner) -> None:
        if _validation_follows(runner, self.by_epoch):
            # What MMEngine's own saves it with.
            if self.by_epoch:
                step = runner.epoch + 1
                self._due = step, dict(epoch=step, iter=runner.iter)
            else:
                step = runner.iter + 1
                self._due = step, dict(epoch=runner.epoch, iter=step)
        else:
            super()._save_checkpoint(runner)

    def _save_due(self, runner: Runner) -> None:
        if self._due is not None:
            self._save_checkpoint_with_step(runner, *self._due)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        # In an order in which nothing is lost wherever it is interrupted.
        self._due = None
        hub = runner.message_hub
        path = self._path_of(step)
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated.append(self._path_of(self.keep_ckpt_ids[0]))
            self.keep_ckpt_ids.append(step)
            hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        hub.update_info('last_ckpt', path)
        # Should it not come to their removal, resuming makes up for it.
        left = [*getattr(self.file_backend, 'outdated', ()), *outdated]
        hub.update_info('outdated_ckpts', [os.path.basename(p) for p in left])
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self.last_ckpt = path
        if is_main_process():
            note = os.path.join(runner.work_dir, NOTE)
            with atomic_write(note) as partial, open(partial, 'w') as file:
                file.write(path)
            for old in filter(self.file_backend.isfile, outdated):
                self.file_backend.remove(old)
            self._remove_outdated()

    def _path_of(self, step: int) -> str:
        name = self.filename_tmpl.format(step)
        return self.file_backend.join_path(self.out_dir, name)

    def _remove_outdated(self) -> None:
        """Remove what :class:`AtomicBackend` has noted, in our folders only."""
        outdated = getattr(self.file_backend, 'outdated', [])
        while outdated:
            path = outdated.pop()
            if is_main_process() and path.endswith('.pth'):
                # Whatever folder it says, a checkpoint of ours is in this one.
                with suppress(FileNotFoundError):
                    os.remove(os.path.join(self.out_dir, os.path.basename(path)))


def _validation_follows(runner: Runner, by_epoch: bool) -> bool:
    """Whether the train loop validates after this iteration (or epoch)."""
    loop = runner.train_loop
    if runner.val_loop is None or by_epoch != isinstance(loop, EpochBasedTrainLoop):
        return False
    done = (runner.epoch if by_epoch else runner.iter) + 1
    end = loop.max_epochs if by_epoch else loop.max_iters
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
