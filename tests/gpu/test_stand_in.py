"""The package's code on a stand-in for a GPU: it refuses tensors of two devices, and computes the same on the CPU.

Its device is "meta", which every build of torch knows. What the Trainer does is not seen: it asks for a GPU itself.
"""

import contextlib

import pandas as pd
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from molft_utils import predict, settings
from molft_utils.influence import influence_kernel, influence_scores
from molft_utils.molformer import MolformerForMaskedLM, MolformerForSequenceClassification
from molft_utils.peft_methods import apply_method
from molft_utils.training import attention, embed, fill_mask, masked_scores, molecule_batches

CARD = torch.device("meta")
aten = torch.ops.aten

#: What may take tensors of both devices: copies, and indices on the CPU.
MIXING = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put_.default}


class OnCard(torch.Tensor):
    """A tensor on the stand-in; ``held`` has its values."""

    @staticmethod
    def __new__(cls, held):
        layout = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype)
        with torch.inference_mode(False):  # a view of a normal tensor has to be a normal tensor
            new = torch.Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=CARD)
        new.held = held
        return new

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
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
    back = lambda x: cards.get(id(x), OnCard(x)) if isinstance(x, torch.Tensor) else x  # noqa: E731
    return tree_map(back, found) if onto else found


class Factories(TorchDispatchMode):
    """Operations without a tensor among their arguments, such as ``torch.zeros(3, device=CARD)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


class FromNumbers(TorchFunctionMode):
    """``torch.tensor(numbers, device=CARD)``, of which operations would see no values, and ``.tolist()``."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") == CARD:
            return func(*args, **{**kwargs, "device": "cpu"}).to(CARD)
        if func is torch.Tensor.tolist and isinstance(args[0], OnCard):  # torch has it for its own class alone
            return args[0].held.tolist()
        return func(*args, **kwargs)


@pytest.fixture
def card(monkeypatch):
    """Moves a model to the stand-in, as ``model.to("cuda")`` would to a GPU."""
    autocast = torch.autocast
    # The model turns autocast off where it needs full precision; there is none of the stand-in to turn off.
    off = lambda kind, **options: contextlib.nullcontext() if kind == CARD.type else autocast(kind, **options)  # noqa: E731
    monkeypatch.setattr(torch, "autocast", off)

    with Factories(), FromNumbers():
        yield lambda model: model._apply(lambda tensor: OnCard(tensor.data))


TABLE = pd.DataFrame({"smiles": ["CCO", "c1ccccc1O", "CC(=O)Nc1ccc(O)cc1", "CCN"], "label": [-0.3, 1.5, 0.4, -0.5]})
SETTINGS = settings("smoke", influence_depth=1, influence_batch_size=6)


def step(model):
    """Gradients of a training step, with dropout, and with a new Omega where the method draws one."""
    batches, _ = molecule_batches(model, TABLE, len(TABLE))
    model.train()(**batches[0]).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).cpu()


def influence(model, which):
    return influence_scores(model, TABLE, TABLE.head(3), TABLE.tail(3), SETTINGS, which).scores


REGRESSION = {
    "predict": lambda model: predict(model, TABLE["smiles"]),
    "embed": lambda model: embed(model, TABLE["smiles"]),
    "attention": lambda model: attention(model, "CCO")[1],
    "LiSSA": lambda model: influence(model, "all"),
    "LiSSA on the head": lambda model: influence(model, "head"),
    "kernel": lambda model: influence_kernel(model, TABLE, TABLE.head(2)).scores(1.0),
    "kernel, sketched": lambda model: influence_kernel(model, TABLE, TABLE.head(2), sketch=64).scores(1.0),
    "a step of full": step,
    "a step of lora": lambda model: step(apply_method(model, "lora", SETTINGS)),
}
MASKED = {
    "masked_scores": lambda model: masked_scores(model, ["CCCCCO"] * 4).loss,
    "fill_mask": lambda model: fill_mask(model, "CCO", 1)["probability"].tolist(),
}


@pytest.mark.parametrize("what", [*REGRESSION, *MASKED])
def test_a_model_gives_the_same_on_a_card(what, tiny, card):
    kind, work = (MolformerForMaskedLM, MASKED) if what in MASKED else (MolformerForSequenceClassification, REGRESSION)
    results = []
    for put in (lambda model: model, card):
        torch.manual_seed(1)
        results.append(torch.as_tensor(work[what](put(kind(tiny).eval()))))
    assert results[1].abs().max() > 0
    torch.testing.assert_close(*results, atol=1e-7, rtol=1e-5)


def test_the_stand_in_refuses_what_a_gpu_refuses(card):
    there = torch.ones(3, device=CARD)
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    assert torch.equal((2 * there + torch.tensor(1.0)).cpu(), torch.full((3,), 3.0)), "a number may come along"
    there += 1
    assert isinstance(there, OnCard) and there.tolist() == [2, 2, 2]
