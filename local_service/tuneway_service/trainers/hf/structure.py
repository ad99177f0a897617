"""A model without its weights, to measure how much memory its training takes.

It is on PyTorch's `meta` device, where tensors have a shape and a type and no content. Its forward and backward pass
are run there, and the bytes of all tensors that live at the same time are added up.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.utils import selective_log_softmax

from tuneway_service.trainers.hf import quantised
from tuneway_service.trainers.hf.models import Tuned, with_adapter
from tuneway_service.trainers.hf.room import switch_on_checkpointing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

META = torch.device("meta")


class Structure:
    """What is trained: a base model and its new adapter, or all of its weights.

    Args:
        folder: The base model; only its configuration is read.
        settings: The hyperparameters.
        half: Whether the device computes in half precision.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, half: bool) -> None:
        self.half = half
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        kind = torch.bfloat16 if half and settings["lora"] else torch.float32
        with META:
            self._model = AutoModelForCausalLM.from_config(config, dtype=kind)
            self._rounded = _rounded(self._model) if quantised.is_asked(settings) else []
            if settings["lora"]:
                self._model = with_adapter(self._model, settings["lora_r"])
        self._model.train()
        self._tuned = Tuned(self._model, None, META, frozenset(), on_base=False)
        self._trained = [weight for weight in self._model.parameters() if weight.requires_grad]

    @property
    def weights(self) -> int:
        """The bytes of all weights."""
        whole = sum(int(tensor.nbytes) for tensor in self._tensors())
        return whole - sum(
            int(weight.nbytes) - int(weight.numel() * quantised.BYTES_PER_WEIGHT) for weight in self._rounded
        )

    @property
    def trained(self) -> int:
        """The bytes of the weights that are trained."""
        return sum(int(weight.nbytes) for weight in self._trained)

    def _tensors(self) -> Iterator[torch.Tensor]:
        yield from self._model.parameters()
        yield from self._model.buffers()

    def switch_on_checkpointing(self) -> bool:
        """Compute with gradient checkpointing from now on; False if the model has none."""
        return switch_on_checkpointing(self._model)

    def activations(self, rows: int, length: int, kept: int) -> int:
        """The bytes that it takes to learn from rows at once, besides weights and their gradients.

        Args:
            rows: How many rows.
            length: The tokens of each.
            kept: At how many places something is learned.
        """
        for weight in self._trained:
            weight.grad = torch.zeros_like(weight)
        known = [*self._tensors(), *(weight.grad for weight in self._trained if weight.grad is not None)]
        ids = torch.zeros((rows, length), dtype=torch.int64, device=META)
        with _as_on_the_device(half=self.half), Living(known) as living:
            logits = self._tuned.logits(ids, kept)
            loss = -selective_log_softmax(logits, ids[:, :kept]).sum()
            del logits
            loss.backward()
        self._model.zero_grad(set_to_none=True)
        # a layer in 4 bits is computed with a copy in full size
        return int(living.most) + max((int(weight.nbytes) for weight in self._rounded), default=0)


def _rounded(model: Any) -> list[torch.Tensor]:
    """The weights that bitsandbytes would round: all linear layers but the last one."""
    last = model.get_output_embeddings()
    return [part.weight for part in model.modules() if isinstance(part, nn.Linear) and part is not last]


class Living(TorchDispatchMode):  # type: ignore[misc]  # the library has no types here
    """Adds up the bytes of the tensors that live at the same time, besides those that are known.

    Contents aren't there to decide about anything, so every condition holds.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: set[int] = {_place(tensor.untyped_storage()) for tensor in known}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and count what it makes."""
        del types
        if function is torch.ops.aten._local_scalar_dense.default:  # noqa: SLF001 - a tensor's content is asked for
            return True
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and _place(tensor.untyped_storage()) not in self._known:
                self._add(tensor.untyped_storage())
        self.most = max(self.most, self._now)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        place, size = _place(storage), storage.nbytes()
        self._known.add(place)
        self._now += size
        weakref.finalize(storage, self._remove, place, size)

    def _remove(self, place: int, size: int) -> None:
        self._known.discard(place)
        self._now -= size


def _place(storage: torch.UntypedStorage) -> int:
    # tensors that share memory share it too; there is no address on this device
    place: int = storage._cdata  # noqa: SLF001
    return place


@contextmanager
def _as_on_the_device(*, half: bool) -> Iterator[None]:
    """Let tensors without content be computed as on a real device.

    There attention keeps no table of all pairs of tokens, and autocast makes the inputs of matrices bfloat16.
    """
    linear: Callable[..., torch.Tensor] = functional.linear

    def cast(tensor: torch.Tensor | None) -> Any:
        return tensor.to(torch.bfloat16) if half and tensor is not None and tensor.is_floating_point() else tensor

    def in_half(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return linear(cast(x), cast(weight), cast(bias))

    def attention(  # noqa: PLR0917 - as PyTorch has it
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002
        scale: float | None = None,
        enable_gqa: bool = False,  # noqa: FBT001, FBT002
    ) -> torch.Tensor:
        del dropout_p, enable_gqa
        mask = attn_mask.to(query.dtype) if attn_mask is not None else None
        found: torch.Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
            cast(query), cast(key), cast(value), 0.0, is_causal, attn_mask=cast(mask), scale=scale
        )[0]
        return found

    with (
        mock.patch.object(functional, "scaled_dot_product_attention", attention),
        mock.patch.object(functional, "linear", in_half),
    ):
        yield
