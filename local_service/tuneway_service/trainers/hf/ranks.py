"""The processes of a gang, joined by `torch.distributed`: NCCL between GPUs, gloo between processors."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from tuneway.errors import InvalidSpec
from tuneway_service.trainers.ranks import LostRank, Ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others. One that ends is noticed at once; this is for one that hangs.

While the first process writes a large model, or asks graders, the others wait.
"""
BUCKET = 64 << 20
"""The bytes of gradients that are sent at once."""


class TorchRanks(Ranks):
    """The processes that torchrun has started for one job.

    Gradients are added up once for each step, after the last part of a batch, in buckets of whole tensors.
    `DistributedDataParallel` would send them during the last backward pass, but it needs the same number of passes in
    each process, and shares of tokens don't have that. An adapter's gradients are small, so little is lost.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ["RANK"])
        self.size = int(os.environ["WORLD_SIZE"])
        backend = "gloo"
        if torch.cuda.is_available():
            backend = "cpu:gloo,cuda:nccl"
            take_device(int(os.environ["LOCAL_RANK"]))
        with together():
            dist.init_process_group(backend, timeout=TIMEOUT)

    def gathered(self, content: T) -> list[T]:
        """What each process gives."""
        text = json.dumps(content).encode()
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with together():
            dist.all_gather(sizes, torch.tensor([len(text)]))
            width = max(int(size) for size in sizes)
            texts = [torch.zeros(width, dtype=torch.uint8) for _ in range(self.size)]
            dist.all_gather(texts, torch.frombuffer(bytearray(text.ljust(width)), dtype=torch.uint8))
        return [json.loads(found[: int(size)].numpy().tobytes()) for found, size in zip(texts, sizes, strict=True)]

    def add_up(self, numbers: Any) -> None:
        """Add a tensor up over all processes."""
        with together():
            dist.all_reduce(numbers)

    def add_up_gradients(self, weights: Iterable[Any]) -> None:
        """Add gradients up. One that no process has stays away, as it would in a process alone."""
        weights = list(weights)
        there = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
        with together():
            dist.all_reduce(there, dist.ReduceOp.MAX)
        sent = [self._send(part) for part in _buckets([weights[number] for number in there.nonzero()])]
        with together():
            for work in sent:
                work.wait()

    def _send(self, weights: Sequence[Any]) -> Any:
        """Begin to add up the gradients of some weights; they become parts of one tensor."""
        flat = torch.cat(
            [(torch.zeros_like(weight) if weight.grad is None else weight.grad).reshape(-1) for weight in weights]
        )
        for weight, part in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
            weight.grad = part.view_as(weight)
        with together():
            return dist.all_reduce(flat, async_op=True)


def take_device(number: int) -> None:
    """Make a GPU the one that this process uses."""
    count = torch.cuda.device_count()
    if number >= count:
        raise InvalidSpec(
            f"the job trains on {number + 1} or more GPUs of this machine, which shows {count}",
            field="gpus",
            hint="Ask for fewer GPUs.",
        )
    torch.cuda.set_device(number)


def _buckets(weights: Sequence[Any]) -> Iterator[list[Any]]:
    """Weights of one kind that fit into one message."""
    bucket: list[Any] = []
    room = BUCKET
    for weight in weights:
        need = weight.numel() * weight.element_size()
        if bucket and (need > room or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket, room = [], BUCKET
        bucket.append(weight)
        room -= need
    if bucket:
        yield bucket


@contextmanager
def together() -> Iterator[None]:
    """Replace the errors of communication by `LostRank`."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # NCCL has none for its buffers
    except RuntimeError as error:
        raise LostRank(str(error)) from error
