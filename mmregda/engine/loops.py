"""Loops over two domains."""

from __future__ import annotations

from itertools import count
from typing import Any, Dict, Iterator, List, Optional, Union

from mmengine.evaluator import Evaluator
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner, ValLoop
from mmpose.registry import LOOPS
from torch.utils.data import DataLoader

from mmregda.errors import InputError


class DomainDataloaders:
    """Dataloaders that are drawn from together.

    One iteration yields a batch of each domain. A dataloader that has come to
    its end starts over, reshuffled by its sampler, so the iteration has none.

    What MMEngine's hooks ask of a dataloader is answered by the first domain,
    the source.

    Args:
        dataloaders (dict[str, DataLoader]): By domain.
    """

    def __init__(self, dataloaders: Dict[str, DataLoader]) -> None:
        self.domains = dataloaders

    def __iter__(self) -> Iterator[Dict[str, Any]]:
        streams = {domain: _repeat(d) for domain, d in self.domains.items()}
        while True:
            yield {domain: next(stream) for domain, stream in streams.items()}

    def __len__(self) -> int:
        return len(self._first)

    @property
    def _first(self) -> DataLoader:
        return next(iter(self.domains.values()))

    @property
    def dataset(self) -> Any:
        return self._first.dataset

    @property
    def sampler(self) -> Any:
        return self._first.sampler

    @property
    def batch_sampler(self) -> Any:
        return self._first.batch_sampler

    @property
    def batch_size(self) -> Optional[int]:
        return self._first.batch_size


def _repeat(dataloader: DataLoader) -> Iterator[Any]:
    for epoch in count():
        if hasattr(dataloader.sampler, 'set_epoch'):
            dataloader.sampler.set_epoch(epoch)
        empty = True
        for batch in dataloader:
            empty = False
            yield batch
        if empty:
            raise InputError(
                f'{type(dataloader.dataset).__name__}: {len(dataloader.dataset)} '
                f'samples do not fill one batch of {dataloader.batch_size}'
            )


@LOOPS.register_module()
class DomainAdaptTrainLoop(IterBasedTrainLoop):
    """Iteration-based training on a batch of each domain.

    Args:
        runner (Runner): The runner.
        dataloader (dict): ``source`` and ``target``, each an ordinary MMPose
            dataloader config with its own batch size, workers and sampler. A
            domain set to None is left out.
        **kwargs: As in :class:`mmengine.runner.IterBasedTrainLoop`.

    Raises:
        InputError: If a domain is missing, or if the labels of the source do
            not fit the head.
    """

    def __init__(self, runner: Runner, dataloader: dict, **kwargs) -> None:
        super().__init__(runner, build_domain_dataloaders(runner, dataloader), **kwargs)
        if 'source' not in self.dataloader.domains:
            raise InputError('train_dataloader has no "source"')
        _require_fitting_head(runner, self.dataloader)
        self.dataloader_iterator = _SkippableIterator(self.dataloader)


class _SkippableIterator:
    """Starts its workers at the first batch; skips what a resumed run has seen."""

    def __init__(self, dataloader: DomainDataloaders) -> None:
        self._dataloader = dataloader
        self._iterator: Optional[Iterator] = None

    def __next__(self) -> Dict[str, Any]:
        if self._iterator is None:
            self._iterator = iter(self._dataloader)
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Draw ``num_iters`` batches and drop them (called on resuming)."""
        for _ in range(num_iters):
            next(self)


@LOOPS.register_module()
class DomainValLoop(BaseLoop):
    """Validation on each domain in turn.

    Metrics are prefixed with the domain: ``source/PCK/Avg``,
    ``target/PCK/Avg``.

    Args:
        runner (Runner): The runner.
        dataloader (dict): A dataloader config for each domain.
        evaluator (dict): An evaluator config for each domain.
        fp16 (bool): As in :class:`mmengine.runner.ValLoop`.

    Attributes:
        domain (str, optional): The domain that is being validated.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Dict[str, dict],
        evaluator: Dict[str, Union[dict, list]],
        fp16: bool = False,
    ) -> None:
        if set(dataloader) != set(evaluator):
            raise InputError(
                f'val_dataloader has the domains {sorted(dataloader)} and '
                f'val_evaluator {sorted(evaluator)}; they must be the same'
            )
        self._runner = runner
        self.loops = {
            domain: ValLoop(runner, dataloader[domain], evaluator[domain], fp16)
            for domain in dataloader
        }
        self.domain: Optional[str] = None

    @property
    def dataloader(self) -> DataLoader:
        """DataLoader: Of the present domain, or the first."""
        return self._current.dataloader

    @property
    def evaluator(self) -> Evaluator:
        """Evaluator: Of the present domain, or the first."""
        return self._current.evaluator

    @property
    def _current(self) -> ValLoop:
        return self.loops[self.domain or next(iter(self.loops))]

    def run(self) -> Dict[str, float]:
        """Validate.

        Returns:
            dict[str, float]: All metrics of all domains.
        """
        self.runner.call_hook('before_val')
        self.runner.call_hook('before_val_epoch')
        self.runner.model.eval()
        metrics: Dict[str, float] = {}
        for domain, loop in self.loops.items():
            self.domain = domain
            for idx, data_batch in enumerate(loop.dataloader):
                loop.run_iter(idx, data_batch)
            found = loop.evaluator.evaluate(len(loop.dataloader.dataset))
            metrics.update({f'{domain}/{k}': v for k, v in found.items()})
        self.domain = None
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics


def build_domain_dataloaders(
    runner: Runner, dataloader: Dict[str, Optional[dict]]
) -> DomainDataloaders:
    """Build the dataloader of each domain.

    Args:
        runner (Runner): The runner, for its seed.
        dataloader (dict): A dataloader config for each domain, or None.

    Returns:
        DomainDataloaders: The dataloaders.
    """
    if isinstance(dataloader, DomainDataloaders):
        return dataloader
    configs = {domain: cfg for domain, cfg in dataloader.items() if cfg is not None}
    unknown: List[str] = sorted(set(configs) - {'source', 'target'})
    if unknown:
        raise InputError(
            'train_dataloader = dict(source=..., target=...) was expected, each '
            f'an MMPose dataloader config, but it has the keys {unknown}'
        )
    seed = runner.seed
    return DomainDataloaders(
        {
            domain: runner.build_dataloader(cfg, seed=seed)
            for domain, cfg in configs.items()
        }
    )


def _require_fitting_head(runner: Runner, dataloader: DomainDataloaders) -> None:
    model = getattr(runner.model, 'module', runner.model)
    num_outputs = getattr(model.head, 'out_channels', None)
    for domain, loader in dataloader.domains.items():
        num_keypoints = getattr(loader.dataset, 'metainfo', {}).get('num_keypoints')
        if None not in (num_outputs, num_keypoints) and num_outputs != num_keypoints:
            raise InputError(
                f'the head has out_channels={num_outputs}, but '
                f'{type(loader.dataset).__name__} of the {domain} has '
                f'{num_keypoints} keypoints. Set model.head.out_channels, or map '
                "the keypoints with MMPose's KeypointConverter."
            )
