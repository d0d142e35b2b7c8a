"""Loops over two domains."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, Iterator, Optional, Type, Union

import torch
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator
from mmengine.hooks import LoggerHook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from mmpose.registry import LOOPS
from torch import nn
from torch.utils.data import DataLoader

from mmregda.datasets import looked_at
from mmregda.datasets.samplers import build_numbered_dataloader, seed_generators
from mmregda.engine.distributed import (
    PlayerDistributedDataParallel,
    broadcast_from_main,
    share_buffers,
    unwrap,
)
from mmregda.engine.finite import require_finite
from mmregda.engine.hooks.compile_hook import CompileHook
from mmregda.engine.host_memory import keep_freed_memory, release_freed_memory
from mmregda.engine.settings import require_iterations, require_settings
from mmregda.engine.start import begin
from mmregda.errors import InputError, during
from mmregda.evaluation.validators import Validator
from mmregda.models.backbones.timm_backbone import require_normalization

# Of each scalar that is logged, for the means in the log. MMEngine keeps a million,
# and copies all of them to add one.
SCALARS_KEPT = 1000
# The domains that there are. From one seed all would draw the same indices and
# augmentations; what one draws does not depend on which others there are.
SEED_OFFSETS = dict(source=0, target=10_000, labeled_target=20_000)


class DomainDataloaders:
    """Dataloaders that are drawn from together.

    One iteration yields a batch of each domain, and there is always another.

    What MMEngine's hooks ask of a dataloader is answered by the first domain.

    Args:
        dataloaders (dict[str, DataLoader]): By domain, without an end.
    """

    def __init__(self, dataloaders: Dict[str, DataLoader]) -> None:
        self.domains = dataloaders

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        streams = {domain: iter(loader) for domain, loader in self.domains.items()}
        while True:
            yield {domain: next(stream) for domain, stream in streams.items()}

    def __len__(self) -> int:
        return len(next(iter(self.domains.values())))

    def __getattr__(self, name: str) -> Any:
        if name == 'domains':  # of a copy that is not yet made
            raise AttributeError(name)
        return getattr(next(iter(self.domains.values())), name)


@LOOPS.register_module()
class SeededTrainLoop(IterBasedTrainLoop):
    """Iteration-based training of which every iteration has its own seed.

    What is drawn in it, samples, augmentation and whatever the model draws, is
    a function of the seed and the number of the iteration. So a training that
    was interrupted goes on as if it had not been, with any number of workers.
    In memory there are the last ``SCALARS_KEPT`` values of each logged scalar.

    Args:
        runner (Runner): The runner.
        dataloader (dict): An ordinary dataloader config.
        **kwargs: As in :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        InputError: If the dataset cannot be read, or if images are not normalised
            as a pretrained backbone of timm expects.
    """

    def __init__(
        self, runner: Runner, dataloader: Union[dict, Iterable], **kwargs
    ) -> None:
        require_settings(runner.cfg)
        require_iterations(runner.hooks)
        begin(runner)
        require_normalization(unwrap(runner.model))
        if isinstance(dataloader, dict):
            dataloader = self.build_dataloader(runner, dataloader)
        super().__init__(runner, dataloader, **kwargs)
        self.dataloader_iterator = _LazyIterator(self.dataloader)
        _log_by_iterations(runner)
        _register_hooks(runner)
        build_validation(runner)
        register_rehearsal(runner)

    def build_dataloader(
        self, runner: Runner, cfg: dict
    ) -> Union[DataLoader, DomainDataloaders]:
        """Build what :meth:`run` draws its batches from."""
        with during('the training dataset cannot be read'):
            seed = broadcast_from_main(runner.seed)  # each process may have its own
            return build_numbered_dataloader(runner, cfg, seed)

    def run(self) -> nn.Module:
        """Train."""
        if not torch.cuda.is_available():
            keep_freed_memory()
        if self.runner.cfg.get('channels_last'):
            # Convolutions are faster so on CPUs and on GPUs in half precision. Names,
            # shapes and values stay, and activations follow.
            unwrap(self.runner.model).to(memory_format=torch.channels_last)
        return super().run()

    def run_iter(self, data_batch: Any) -> None:
        """Train for one iteration.

        Raises:
            InputError: If a loss is not finite; before any hook sees it, and so
                before anything is saved.
        """
        runner = self.runner
        # Other seeds than those of its samples, which have two numbers.
        seed_generators(runner.seed, get_rank(), self._iter)
        hook_args = dict(batch_idx=self._iter, data_batch=data_batch)
        runner.call_hook('before_train_iter', **hook_args)
        outputs = runner.model.train_step(
            data_batch, optim_wrapper=runner.optim_wrapper
        )
        if not isinstance(runner.model, PlayerDistributedDataParallel):
            # Others share them before a pass if at all, and differ after it.
            share_buffers(runner.model)
        when = f'iteration {self._iter + 1}'
        require_finite(when, runner.optim_wrapper, outputs, data_batch)
        runner.call_hook('after_train_iter', **hook_args, outputs=outputs)
        for history in runner.message_hub.log_scalars.values():
            history.max_length = min(history.max_length, SCALARS_KEPT)
        self._iter += 1


@LOOPS.register_module()
class DomainAdaptTrainLoop(SeededTrainLoop):
    """Iteration-based training on a batch of each domain of the method.

    Args:
        runner (Runner): The runner.
        dataloader (dict): ``source``, ``target`` and ``labeled_target``, each an
            ordinary MMPose dataloader config with its own batch size, workers
            and sampler. Those that the method does not draw from, or that are
            None, are not built.
        **kwargs: As in :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        InputError: If a domain is missing, or if nothing tells a method without
            labels what the keypoints are.
    """

    def __init__(self, runner: Runner, *args, **kwargs) -> None:
        super().__init__(runner, *args, **kwargs)
        runner.register_hook(dict(type='StartWeightsHook'))

    def build_dataloader(self, runner: Runner, cfg: dict) -> DomainDataloaders:
        """Build a dataloader for each domain."""
        model = unwrap(runner.model)
        configs = drawn_dataloaders(model, cfg)
        require_scheduled_players(model, runner.param_schedulers)
        dataloaders = build_domain_dataloaders(runner, configs)
        if (runner.auto_scale_lr or {}).get('enable'):
            # By its batch size, which all domains have, MMEngine scales the rates.
            runner._train_dataloader = next(iter(dataloaders.domains.values()))
        return dataloaders


def _log_by_iterations(runner: Runner) -> None:
    """Have the log count what this loop counts, whatever MMEngine's defaults are."""
    runner.log_processor.by_epoch = False
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook):
            hook.log_metric_by_epoch = False


def _register_hooks(runner: Runner) -> None:
    """Resume and compile as the config says."""
    runner.register_hook(dict(type='ResumeHook'))
    # Left there, MMEngine would compile the optimisers with the model.
    options = runner.cfg.pop('compile', None)
    if options:
        runner.register_hook(CompileHook(**({} if options is True else options)))


class _LazyIterator:
    """Starts its workers at the first batch; skips what a resumed run has seen.

    It answers to both ways in which releases of MMEngine skip: drawing, and
    ``skip_iter``.
    """

    def __init__(self, dataloader: Union[DataLoader, DomainDataloaders]) -> None:
        self._dataloader = dataloader
        self._iterator: Optional[Iterator] = None

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._dataloader)
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Begin after the first ``num_iters`` batches (called on resuming)."""
        loaders = getattr(self._dataloader, 'domains', dict(all=self._dataloader))
        for loader in loaders.values():
            loader.sampler.skip(num_iters * loader.batch_size)


@LOOPS.register_module()
class DomainValLoop(BaseLoop):
    """Validation on each domain in turn.

    Metrics are prefixed with the domain: ``source/PCK/Avg``,
    ``target/PCK/Avg``. Several processes share the samples and validate the
    model that is saved, with the running statistics of the first process.

    Args:
        runner (Runner): The runner.
        dataloader (dict): A dataloader config for each domain; None leaves one
            out.
        evaluator (dict): An evaluator config for each domain, or None.
        fp16 (bool): As in :class:`mmengine.runner.ValLoop`.

    Attributes:
        domain (str, optional): The domain that is being validated.
    """

    phase = 'val'
    one_domain: Type[BaseLoop] = ValLoop

    def __init__(
        self,
        runner: Runner,
        dataloader: Dict[str, dict],
        evaluator: Dict[str, Union[dict, list]],
        fp16: bool = False,
    ) -> None:
        dataloader, evaluator = (
            {domain: cfg for domain, cfg in configs.items() if cfg is not None}
            for configs in (dataloader, evaluator)
        )
        if set(dataloader) != set(evaluator) or not dataloader:
            raise InputError(
                f'{self.phase}_dataloader has the domains {sorted(dataloader)} and '
                f'{self.phase}_evaluator {sorted(evaluator)}; they must be the same, '
                'and at least one. To train without validation set val_dataloader, '
                'val_evaluator and val_cfg to None.'
            )
        self._runner = runner
        self.loops = {}
        for domain in dataloader:
            with during(f'the {domain} dataset cannot be read'):
                loader = looked_at(dataloader[domain])
                loader = runner.build_dataloader(loader, seed=runner.seed)
            entry = f'{self.phase}_evaluator.{domain}'
            with during(f'{entry} cannot be read'):
                metrics = runner.build_evaluator(evaluator[domain])
            self.loops[domain] = self.one_domain(runner, loader, metrics, fp16)
        source = self.loops['source'].dataloader if 'source' in self.loops else None
        for loop in self.loops.values():
            show_model(loop.evaluator, unwrap(runner.model), source)
        self.domain: Optional[str] = None
        self._begun = False
        register_rehearsal(runner)

    @property
    def dataloader(self) -> DataLoader:
        """DataLoader: Of the present domain, or the first."""
        return self._current.dataloader

    @property
    def evaluator(self) -> Evaluator:
        """Evaluator: Of the present domain, or the first."""
        return self._current.evaluator

    @property
    def _current(self) -> BaseLoop:
        return self.loops[self.domain or next(iter(self.loops))]

    def run(self) -> Dict[str, float]:
        """Validate."""
        self.runner.call_hook(f'before_{self.phase}')
        self.runner.call_hook(f'before_{self.phase}_epoch')
        share_buffers(self.runner.model)
        self.runner.model.eval()
        if not self._begun:
            release_freed_memory()  # The workers start, and stay.
            self._begun = True
        metrics: Dict[str, float] = {}
        for domain, loop in self.loops.items():
            self.domain = domain
            for idx, data_batch in enumerate(loop.dataloader):
                loop.run_iter(idx, data_batch)
            found = loop.evaluator.evaluate(len(loop.dataloader.dataset))
            metrics.update({f'{domain}/{k}': v for k, v in found.items()})
        self.domain = None
        self.runner.call_hook(f'after_{self.phase}_epoch', metrics=metrics)
        self.runner.call_hook(f'after_{self.phase}')
        return metrics


def show_model(
    evaluator: Evaluator, model: nn.Module, source: Optional[DataLoader]
) -> None:
    """Let the metrics that look at more than predictions see it."""
    for metric in evaluator.metrics:
        if isinstance(metric, Validator):
            metric.see(model, source)


@LOOPS.register_module()
class DomainTestLoop(DomainValLoop):
    """Test on each domain in turn, for MMPose's own ``tools/test.py``.

    Args:
        runner (Runner): The runner.
        dataloader (dict): A dataloader config for each domain; None leaves one
            out. If it is empty, the test is the validation: its dataloaders and
            its metrics.
        evaluator (dict | list): An evaluator config for each domain. In a list,
            single metrics beside it are for all domains; one that writes a file
            (``out_file_path``, as that of ``--dump``) writes one for each, with
            the domain in its name.
        fp16 (bool): As in :class:`mmengine.runner.TestLoop`.
    """

    phase = 'test'
    one_domain = TestLoop

    def __init__(
        self,
        runner: Runner,
        dataloader: Dict[str, dict],
        evaluator: Union[dict, list],
        fp16: bool = False,
    ) -> None:
        given = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
        metrics = {k: v for one in given if 'type' not in one for k, v in one.items()}
        if not dataloader:
            dataloader = runner.cfg.get('val_dataloader') or {}
            metrics = metrics or runner.cfg.get('val_evaluator') or {}
        if not dataloader or 'dataset' in dataloader:
            raise InputError(
                'test_cfg.type is "DomainTestLoop": test_dataloader, or with an empty '
                'one val_dataloader, is to have a dataloader config for each domain'
            )
        shared = [one for one in given if 'type' in one]
        super().__init__(
            runner,
            dataloader,
            {
                domain: [
                    *(own if isinstance(own, (list, tuple)) else [own]),
                    *(_for_domain(metric, domain) for metric in shared),
                ]
                for domain, own in metrics.items()
                if own is not None
            },
            fp16,
        )


def _for_domain(metric: dict, domain: str) -> dict:
    path = metric.get('out_file_path')
    if path is None:
        return dict(metric)
    root, extension = os.path.splitext(path)
    return dict(metric, out_file_path=f'{root}_{domain}{extension}')


def build_domain_dataloaders(
    runner: Runner, configs: Dict[str, dict]
) -> DomainDataloaders:
    """Build the dataloader of each domain."""
    loaders = {}
    for domain, cfg in configs.items():
        with during(f'the {domain} dataset cannot be read'):
            seed = broadcast_from_main(runner.seed) + SEED_OFFSETS[domain]
            loaders[domain] = build_numbered_dataloader(runner, cfg, seed)
    return DomainDataloaders(loaders)


def drawn_dataloaders(model: nn.Module, configs: Dict[str, Any]) -> Dict[str, dict]:
    """The dataloader configs of a method's ``domains``, in their order.

    Raises:
        InputError: If one is missing, or is for no domain.
    """
    domains = model.adaptation.domains
    name = type(model.adaptation).__name__
    missing = [domain for domain in domains if configs.get(domain) is None]
    if missing:
        known = 'None' if missing[0] in configs else f'not among {sorted(configs)}'
        raise InputError(
            f'{name} needs a dataloader config for each of {sorted(domains)}: '
            f'train_dataloader.{missing[0]} is {known}'
        )
    unknown = sorted(set(configs) - set(SEED_OFFSETS))
    if unknown:
        raise InputError(
            f'train_dataloader.{unknown[0]} is for no domain: there are '
            f'{", ".join(SEED_OFFSETS)}. Leave it out.'
        )
    unused = sorted(k for k in set(configs) - set(domains) if configs[k] is not None)
    if unused:
        print_log(
            f'{name} draws from {" and ".join(domains)} alone: train_dataloader.'
            f'{" and ".join(unused)} is left unread',
            logger='current',
        )
    return {domain: configs[domain] for domain in domains}


def require_scheduled_players(model: nn.Module, schedules: Any) -> None:
    """Raise :class:`InputError` if schedules by player are not for the players."""
    if not isinstance(schedules, dict) or 'type' in schedules:
        return
    players = sorted(model.players())
    if sorted(schedules) != players:
        raise InputError(
            f'param_scheduler has entries for {sorted(schedules)}, but the players of '
            f'{type(model.adaptation).__name__} are {players}. Where a rate is to stay '
            'write an empty list.'
        )


def build_validation(runner: Runner) -> None:
    """Build the one validation set of a runner, before MMEngine's loop does.

    So its files are looked at, and a missing one is no bare assertion.

    Raises:
        InputError: If it cannot be read.
    """
    loader, evaluator = runner._val_dataloader, runner._val_evaluator
    if isinstance(loader, dict) and 'dataset' in loader:
        with during('val_dataloader cannot be read'):
            runner._val_dataloader = runner.build_dataloader(
                looked_at(loader),
                seed=runner.seed,
                diff_rank_seed=runner._randomness_cfg.get('diff_rank_seed', False),
            )
        with during('val_evaluator cannot be read'):
            runner._val_evaluator = runner.build_evaluator(evaluator)


def register_rehearsal(runner: Runner) -> None:
    """Have a runner rehearse before it begins, once, whatever loops it has."""
    if not any(type(hook).__name__ == 'RehearsalHook' for hook in runner.hooks):
        runner.register_hook(dict(type='RehearsalHook'))
