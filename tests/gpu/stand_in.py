"""A stand-in for a GPU: a device of its own whose tensors keep their values on the CPU, where they are computed.

It refuses what CUDA refuses: an operation on tensors of both devices, and ``.numpy()`` of a tensor on the card. Its
name is "meta", a device that every build of torch knows.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

CARD = torch.device("meta")

aten = torch.ops.aten

#: What may take tensors of both devices: copies, and indices on the CPU.
MIXING = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put_.default}


class OnCard(torch.Tensor):
    """A tensor on the stand-in."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype)
        with torch.inference_mode(False):  # a view of a normal tensor has to be a normal tensor
            new = torch.Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=CARD)
        new.held = held
        return new

    def __repr__(self) -> str:
        return f"OnCard({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: tuple, kwargs: dict) -> Any:
    """Compute an operation on the CPU; what belongs on the card comes back as a tensor on it."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    cards = {id(x.held): x for x in tensors if isinstance(x, OnCard)}
    if cards and func not in MIXING and any(x.dim() for x in tensors if not isinstance(x, OnCard)):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found the card and the CPU")
    if func is aten._efficientzerotensor.default:  # it has no values, and would reach the CPU's kernels like this
        func = aten.zeros.default
    device = kwargs.get("device")
    onto = bool(cards) if device is None else torch.device(device).type == CARD.type
    if func is aten.copy_.default:
        onto = isinstance(args[0], OnCard)
    if onto and device is not None:
        kwargs = {**kwargs, "device": "cpu"}
    args, kwargs = tree_map(lambda x: x.held if isinstance(x, OnCard) else x, (args, kwargs))
    found = func(*args, **kwargs)
    # An operation in place gives back the tensor that it was given.
    return (
        tree_map(lambda x: cards.get(id(x), OnCard(x)) if isinstance(x, torch.Tensor) else x, found) if onto else found
    )


class _Factories(TorchDispatchMode):
    """Operations without a tensor among their arguments, such as ``torch.zeros(3, device=CARD)``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return compute(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """``torch.tensor(numbers, device=CARD)``, of which operations would see no values, and ``.tolist()``."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == CARD:
            del kwargs["device"]
            return func(*args, **kwargs).to(CARD)
        if func is torch.Tensor.tolist and isinstance(args[0], OnCard):  # torch has it for its own class alone
            return args[0].held.tolist()
        return func(*args, **kwargs)


@contextlib.contextmanager
def card() -> Iterator[torch.device]:
    """The stand-in, while the context lasts."""
    autocast = torch.autocast
    # The model turns autocast off where it needs full precision; there is none of the stand-in to turn off.
    torch.autocast = lambda kind, **options: (  # type: ignore[assignment,misc]
        contextlib.nullcontext() if kind == CARD.type else autocast(kind, **options)
    )
    try:
        with _Factories(), _FromNumbers():
            yield CARD
    finally:
        torch.autocast = autocast  # type: ignore[misc]


def put(model: torch.nn.Module) -> torch.nn.Module:
    """Move a model to the stand-in, as ``model.to("cuda")`` would to a GPU."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = torch.nn.Parameter(OnCard(p.data), requires_grad=p.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = OnCard(buffer)
    return model
