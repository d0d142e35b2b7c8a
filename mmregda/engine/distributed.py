"""Training of several players in many processes."""

from __future__ import annotations

import os
import re
import traceback
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Dict, Iterator, List

import torch
import torch.distributed as dist
from mmengine.dist import broadcast_object_list, init_dist, is_distributed
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from mmengine.utils.dl_utils import set_multi_processing
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from mmregda.errors import InputError

SYNCHRONIZED_ON_CPU = (
    'PyTorch synchronises batch normalisation on GPUs alone. Leave out sync_bn, and '
    'norm_cfg=dict(type="SyncBN"), to train on CPUs.'
)


@MODEL_WRAPPERS.register_module()
class PlayerDistributedDataParallel(nn.Module):
    """Data parallelism for a model whose players step in turn.

    An iteration goes backward several times, each time for some players only,
    and reuses features between them. ``DistributedDataParallel`` expects one
    forward and one backward pass of everything. Here the gradients of a player
    are averaged over the processes just before its optimiser clips and steps,
    in one message, and the buffers are those of the first process after every
    iteration. So all processes hold the same parameters and buffers then.

    Every process has as large a batch as the others, so the mean over the
    processes is the gradient of the mean over their batches together. That is
    what one process with all of them would step by, if batch normalisation is
    frozen or synchronised and the loss is a mean over samples (which that of
    :class:`~mmregda.models.adaptations.DAN` is not).

    Args:
        module (nn.Module): The model, on its device.

    Raises:
        InputError: If batch normalisation is to be synchronised on CPUs.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        synchronized = any(isinstance(m, nn.SyncBatchNorm) for m in module.modules())
        if synchronized and not next(module.parameters()).is_cuda:
            raise InputError(SYNCHRONIZED_ON_CPU)
        self.module = module
        _broadcast([*module.parameters(), *module.buffers()])

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model."""
        return self.module(*args, **kwargs)

    def train_step(
        self, data: Dict[str, dict], optim_wrapper: OptimWrapperDict
    ) -> Dict[str, Tensor]:
        """One iteration; the optimisers average their gradients."""
        log_vars = self.module.train_step(data, optim_wrapper)
        share_buffers(self.module)
        return log_vars

    def val_step(self, data: dict) -> list:
        """Predict a validation batch."""
        return self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Predict a test batch."""
        return self.module.test_step(data)


@contextmanager
def joined_processes(launcher: str, env_cfg: dict) -> Iterator[None]:
    """Within, the processes of a launcher are one group.

    They talk over the backend that the config names, on a machine without a
    GPU over gloo. A process that finds them joined already leaves them so.

    Args:
        launcher (str): ``pytorch`` (torchrun), ``slurm``, ``mpi``, or ``none``
            for one process.
        env_cfg (dict): As in MMEngine's configs. ``dist_cfg.timeout`` is for
            how many seconds a process waits for the others.

    Raises:
        InputError: If the launcher has not started this process, or started it
            where no GPU is left for it, or if another process is lost.
    """
    joining = launcher != 'none' and not is_distributed()
    if joining:
        _join(launcher, env_cfg)
    try:
        yield
    except RuntimeError as error:
        if not (is_distributed() and _is_lost_connection(error)):
            raise
        rank, world_size = (os.environ.get(k, '?') for k in ('RANK', 'WORLD_SIZE'))
        raise InputError(
            f'process {rank} of {world_size} does not reach the others '
            f'({str(error).split(". ")[0]}). If one has ended, it or what has '
            'started it says why, above or in an output of its own. Go on from the '
            'last checkpoint with --resume; the number of processes may change.'
        ) from error
    # Not after an error: others might never come to take leave.
    if joining:
        dist.destroy_process_group()


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, out of a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def broadcast_from_main(value: Any) -> Any:
    """Broadcast rank 0's value to all ranks.

    What each sees of the file system at one moment may differ.
    """
    values = [value]
    broadcast_object_list(values)
    return values[0]


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first."""
    if is_distributed():
        _broadcast(list(model.buffers()))


def _join(launcher: str, env_cfg: dict) -> None:
    # As MMEngine does at first; otherwise it warns about what comes next.
    set_multi_processing(**(env_cfg.get('mp_cfg') or {}), distributed=True)
    dist_cfg = dict(env_cfg.get('dist_cfg') or {})
    join = partial(init_dist, launcher, **dist_cfg)
    if not torch.cuda.is_available():
        # MMEngine gives each process a GPU.
        if launcher != 'pytorch':
            raise InputError(
                f'--launcher {launcher} needs a GPU for each process. On CPUs start '
                'with torchrun (tools/dist_train.sh).'
            )
        timeout = dist_cfg.get('timeout')
        options = {} if timeout is None else dict(timeout=timedelta(seconds=timeout))
        join = partial(dist.init_process_group, 'gloo', **options)
    try:
        if launcher == 'mpi':  # MMEngine sets all but this, which its wrapper asks for.
            os.environ['LOCAL_RANK'] = os.environ['OMPI_COMM_WORLD_LOCAL_RANK']
        join()
    except (KeyError, RuntimeError, ValueError, TimeoutError) as error:
        rank, address, port = (
            os.environ.get(name, '(not set)')
            for name in ('RANK', 'MASTER_ADDR', 'MASTER_PORT')
        )
        raise InputError(
            f'--launcher {launcher}: process {rank} does not meet the others at '
            f'{address}:{port} ({type(error).__name__}: '
            f'{str(error).partition(chr(10))[0]}). Start with tools/dist_train.sh '
            '(torchrun), tools/slurm_train.sh (srun) or mpirun, or without --launcher '
            "for one process. MASTER_ADDR is the first process's machine, MASTER_PORT "
            'has to be free there, and each process needs a GPU of its own.'
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    """Whether a message to other processes has failed.

    Backends raise no class of their own in all releases. What counts is who
    raised it, or, in the backward pass of ``DistributedDataParallel``, which
    is nobody in Python, what it says.
    """
    if isinstance(error, InputError):
        return False
    raiser = traceback.extract_tb(error.__traceback__)[-1].filename
    by_name = raiser.startswith(os.path.dirname(dist.__file__))
    return by_name or bool(re.search(r'\b(gloo|NCCL)\b', str(error)))


def _broadcast(tensors: List[Tensor]) -> None:
    """Give every process the tensors of the first, in one message for each type."""
    groups: Dict[str, List[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.type(), []).append(tensor.detach())
    for group in groups.values():
        flat = _flatten_dense_tensors(group)
        dist.broadcast(flat, src=0)
        for tensor, first in zip(group, _unflatten_dense_tensors(flat, group)):
            tensor.copy_(first)
