"""Checkpoints that are written whole."""

from __future__ import annotations

import os
from contextlib import suppress
from glob import escape, glob
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, get_file_backend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpose.registry import HOOKS

from mmregda.engine.checkpoints import NONE_YET, NOTE, noted_checkpoint
from mmregda.engine.distributed import unwrap
from mmregda.engine.finite import first_not_finite
from mmregda.engine.start import begin, domains_of
from mmregda.errors import InputError, during
from mmregda.files import atomic_write, write_text


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
        with during(
            f'checkpoint hook: of save_best={self.save_best!r} it is not known whether '
            'more or less is better',
            'Set rule="greater" or rule="less" beside it.',
        ):
            super()._init_rule(rules, key_indicators)

    def before_run(self, runner: Runner) -> None:
        """Find the checkpoint to resume from, and whether there is a source."""
        if runner._resume:
            begin(runner)  # Unless a loop of this package has.
        drawn = domains_of(unwrap(runner.model))
        validated = getattr(runner.val_loop, 'loops', ())
        if 'source' in drawn or 'source' in validated or not self.save_best:
            return
        # Shipped configs name it, and a run without a source need not say otherwise.
        if all(key.startswith('source/') for key in self.save_best):
            print_log(
                f'There is no source: {" and ".join(self.save_best)} chooses no '
                'checkpoint, and the last ones are kept.',
                logger='current',
            )
            self.save_best = None

    def before_train(self, runner: Runner) -> None:
        """Remove what a run that was killed has half written."""
        place = self.out_dir or runner.work_dir
        remote = self.backend_args or self.file_client_args
        if not remote and type(get_file_backend(place)) is LocalBackend:
            self.backend_args = dict(backend='atomic')
        super().before_train(runner)
        # MMEngine forgets it, and then does not save what it would have saved.
        self.last_ckpt = runner.message_hub.get_info('last_ckpt')
        if not isinstance(self.file_backend, AtomicBackend) or not is_main_process():
            return
        for path in glob(os.path.join(escape(self.out_dir), '*.pth.*partial')):
            with suppress(FileNotFoundError):
                os.remove(path)
        if not runner._resume:
            write_text(os.path.join(runner.work_dir, NOTE), NONE_YET)

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
        parameters = dict(unwrap(runner.model).named_parameters())
        name = first_not_finite(checkpoint['state_dict'], parameters)
        if name:
            last = noted_checkpoint(runner.work_dir)
            before = f'as it was: {last}' if last else 'none'
            raise InputError(
                f'after {checkpoint["meta"]["iter"]} iterations "{name}" is not '
                f'finite and not saved. The last checkpoint is {before}. The learning '
                'rate may be too high.'
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
        self._due = None
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        """Remove what :class:`AtomicBackend` has noted, in our folder only."""
        outdated = getattr(self.file_backend, 'outdated', [])
        while outdated:
            path = outdated.pop()
            # Resumed from elsewhere, the names are those of another run's files.
            if is_main_process() and os.path.dirname(path) == self.out_dir:
                with suppress(FileNotFoundError):
                    os.remove(path)


def _validation_follows(runner: Runner, by_epoch: bool) -> bool:
    """Whether the train loop validates after this iteration (or epoch)."""
    loop = runner.train_loop
    if runner.val_loop is None or by_epoch != isinstance(loop, EpochBasedTrainLoop):
        return False
    done = (runner.epoch if by_epoch else runner.iter) + 1
    end = loop.max_epochs if by_epoch else loop.max_iters
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
