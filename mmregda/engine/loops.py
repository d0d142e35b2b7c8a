"""Loops over two domains."""

from __future__ import annotations

from itertools import count
from typing import Any, Dict, Iterable, Iterator, Optional, Union

from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner, ValLoop
from mmpose.registry import LOOPS
from torch import nn
from torch.utils.data import DataLoader

from mmregda.datasets import UnlabeledDataset
from mmregda.errors import InputError, reading


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
        return self.iterate()

    def iterate(self, skip: int = 0) -> Iterator[Dict[str, Any]]:
        """Draw batches, after the first ``skip`` of each domain.

        A sampler that can skip does (MMEngine's ``InfiniteSampler`` in later
        releases); the batches of another are loaded and dropped.
        """
        streams = {}
        for domain, dataloader in self.domains.items():
            streams[domain] = _repeat(dataloader)
            if skip and hasattr(dataloader.sampler, 'skip'):
                dataloader.sampler.skip(skip * dataloader.batch_size)
            else:
                for _ in range(skip):
                    next(streams[domain])
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
        model = unwrap(runner.model)
        configs = {domain: cfg for domain, cfg in dataloader.items() if cfg is not None}
        require_domains(model, configs)
        super().__init__(runner, build_domain_dataloaders(runner, configs), **kwargs)
        for domain, loader in self.dataloader.domains.items():
            require_fitting_head(model, loader.dataset, domain)
        self.dataloader_iterator = _LazyIterator(self.dataloader)


class _LazyIterator:
    """Starts its workers at the first batch; skips what a resumed run has seen.

    It answers to both ways in which releases of MMEngine skip: drawing, and
    ``skip_iter``.
    """

    def __init__(self, dataloader: DomainDataloaders) -> None:
        self._dataloader = dataloader
        self._iterator: Optional[Iterator] = None

    def __next__(self) -> Dict[str, Any]:
        if self._iterator is None:
            self._iterator = iter(self._dataloader)
        return next(self._iterator)

    def skip_iter(self, num_iters: int) -> None:
        """Begin after the first ``num_iters`` batches (called on resuming)."""
        self._iterator = self._dataloader.iterate(skip=num_iters)


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
        self.loops = {}
        for domain in dataloader:
            loader = build_dataloader(runner, dataloader[domain], domain)
            self.loops[domain] = ValLoop(runner, loader, evaluator[domain], fp16)
        for domain, loop in self.loops.items():
            model = unwrap(runner.model)
            require_fitting_head(model, loop.dataloader.dataset, domain)
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
    runner: Runner, configs: Dict[str, dict]
) -> DomainDataloaders:
    """Build the dataloader of each domain.

    Args:
        runner (Runner): The runner, for its seed.
        configs (dict): A dataloader config for each domain.

    Returns:
        DomainDataloaders: The dataloaders.
    """
    # From one seed both domains would draw the same indices and augmentations.
    return DomainDataloaders(
        {
            domain: build_dataloader(runner, cfg, domain, offset)
            for (domain, cfg), offset in zip(configs.items(), count(0, 10_000))
        }
    )


def build_dataloader(
    runner: Runner, cfg: dict, domain: str, seed_offset: int = 0
) -> DataLoader:
    """Build one dataloader.

    Raises:
        InputError: If its dataset can not be read.
    """
    with reading(f'the {domain} dataset'):
        return runner.build_dataloader(cfg, seed=runner.seed + seed_offset)


def require_domains(model: nn.Module, domains: Iterable[str]) -> None:
    """Raise :class:`InputError` if training data is not what a method takes."""
    adaptation = model.adaptation
    known = {'source', 'target'}
    needed = known if adaptation.needs_target else {'source'}
    found = set(domains)
    if not needed <= found <= known:
        raise InputError(
            f'train_dataloader has the keys {sorted(found)}, but '
            f'{type(adaptation).__name__} needs a dataloader config for each of '
            f'{sorted(needed)}'
        )


def require_fitting_head(model: nn.Module, dataset: Any, domain: str) -> None:
    """Raise :class:`InputError` if a head has not one output for each label."""
    if isinstance(dataset, UnlabeledDataset):
        return
    num_outputs = getattr(model.head, 'out_channels', None)
    num_keypoints = getattr(dataset, 'metainfo', {}).get('num_keypoints')
    if None not in (num_outputs, num_keypoints) and num_outputs != num_keypoints:
        raise InputError(
            f'the head has out_channels={num_outputs}, but '
            f'{type(dataset).__name__} of the {domain} has {num_keypoints} '
            'keypoints. Set model.head.out_channels, or map the keypoints '
            "(MMPose's KeypointConverter) and give the dataset the metainfo of "
            'what they are mapped to.'
        )


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, out of a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model
