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
        text, buffers = io.BytesIO(), []
        _Pickler(text, protocol=5, buffer_callback=buffers.append).dump(self.content)
        places, end = [], 0
        for buffer in buffers:
            size = buffer.raw().nbytes
            places.append(slice(end, end + size))
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        joint = torch.empty(end, dtype=torch.uint8)
        for buffer, place in zip(buffers, places):
            memoryview(joint.numpy())[place] = buffer.raw()
        return _unpack, (text.getvalue(), joint, places, self.pin)


def _unpack(text: bytes, joint: Tensor, places: List[slice], pin: bool) -> Any:
    if pin:
        # Without it, it is slower. An error here would end PyTorch's thread that
        # pins with no word of the cause.
        with suppress(RuntimeError):
            joint = joint.pin_memory()
    return pickle.loads(text, buffers=[joint.numpy()[place] for place in places])


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, whose bytes pickle can leave out of the text."""

    def reducer_override(self, item: Any) -> Any:
        if type(item) is not Tensor:
            return NotImplemented
        try:
            return torch.from_numpy, (item.contiguous().numpy(),)
        except (TypeError, RuntimeError):  # NumPy has none of its kind.
            return NotImplemented
