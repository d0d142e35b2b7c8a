"""Batches on their way from a data worker to the training."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import Any, Callable, List, Sequence, Tuple

import torch
from torch import Tensor

# Of every tensor within the joint one, in bytes.
_ALIGNMENT = 64


class PackingCollate:
    """Another collate function, whose batches leave a worker in one piece.

    PyTorch sends every tensor through a file in shared memory of its own, whose
    handle is asked for over a socket. A labelled sample of MMPose's has three
    tensors, and for a batch of them that takes longer than augmenting it. Here a
    batch's tensors are joined for the way, and arrive with the same values and
    shapes, each contiguous.

    It is for loaders with workers only: nothing else pickles its batches.

    Args:
        collate (Callable): The other function.
        pin (bool): Whether what arrives is in pinned memory, from where a GPU
            fetches it by itself. PyTorch would leave out the labels, which are
            in samples that it does not look into. Defaults to False.
    """

    def __init__(self, collate: Callable[[Sequence], Any], pin: bool = False) -> None:
        self.collate = collate
        self.pin = pin

    def __call__(self, samples: Sequence) -> _Packed:
        return _Packed(self.collate(samples), self.pin)


class _Packed:
    """Something that becomes itself again, without this around it, on arrival."""

    def __init__(self, content: Any, pin: bool) -> None:
        self.content = content
        self.pin = pin

    def __reduce__(self) -> Tuple[Callable, Tuple]:
        text = io.BytesIO()
        pickler = _Pickler(text, protocol=pickle.HIGHEST_PROTOCOL)
        pickler.dump(self.content)
        places, end = [], 0
        for tensor in pickler.tensors:
            places.append((end, tensor.dtype, tensor.shape))
            size = tensor.numel() * tensor.element_size()
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        joint = torch.empty(end, dtype=torch.uint8)
        for tensor, view in zip(pickler.tensors, _views(joint, places)):
            view.copy_(tensor)
        return _unpack, (text.getvalue(), joint, places, self.pin)


def _unpack(text: bytes, joint: Tensor, places: List[Tuple], pin: bool) -> Any:
    if pin:
        # Without it, it is slower. An error here would end PyTorch's thread that
        # pins with no word of the cause.
        with suppress(RuntimeError):
            joint = joint.pin_memory()
    unpickler = _Unpickler(io.BytesIO(text))
    unpickler.tensors = _views(joint, places)
    return unpickler.load()


def _views(joint: Tensor, places: List[Tuple]) -> List[Tensor]:
    views = []
    for start, dtype, shape in places:
        size = shape.numel() * torch.empty((), dtype=dtype).element_size()
        views.append(joint[start : start + size].view(dtype).view(shape))
    return views


class _Pickler(pickle.Pickler):
    """Leaves tensors out, and a number in the place of each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tensors: List[Tensor] = []

    def persistent_id(self, item: Any) -> Any:
        if type(item) is not Tensor or item.layout is not torch.strided:
            return None
        self.tensors.append(item)
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    tensors: List[Tensor]

    def persistent_load(self, number: int) -> Tensor:
        return self.tensors[number]
