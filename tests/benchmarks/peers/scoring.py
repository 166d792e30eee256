"""Scores direction . g_z of candidates: molft's forward mode, a backward pass for each molecule, and ``vmap(grad)``."""

import subprocess
import sys
from collections.abc import Callable, Sequence

import psutil
import torch
from torch import Tensor
from torch.func import grad, vmap

from ...data import load_secondary
from ...experiments import PeakMemory
from ...influence import Params, gradient, molecule_loss, scores, trained_parameters
from ...molformer import load_model
from ...training import molecule_batches
from .rows import Row
from .turns import in_turns, timing_rows

BATCH, ROUNDS = 32, 5

#: What is compared -> library.
LIBRARIES = {"forward mode": "molft", "a backward pass each": "torch", "vmap(grad)": "torch"}


def scorers() -> dict[str, Callable[[], Tensor]]:
    """Each way to score the 300 secondary molecules in a random direction, on the mini checkpoint."""
    model = load_model("mini")
    model.config.canonical_smiles = True
    loss, params, table = molecule_loss(model), trained_parameters(model), load_secondary()
    torch.manual_seed(0)
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    batches, singles = (molecule_batches(model, table, size)[0] for size in (BATCH, 1))

    def loop() -> Tensor:
        return torch.stack([_dot(gradient(loss, params, [one]), direction) for one in singles])

    def one_loss(p: Params, ids: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        return loss(p, {"input_ids": ids[None], "attention_mask": mask[None], "labels": label[None]})[0]

    each = vmap(grad(one_loss), in_dims=(None, 0, 0, 0))

    def vmapped() -> Tensor:
        parts = [each(params, *batch.values()) for batch in batches]
        return torch.cat([sum(g.flatten(1) @ direction[n].flatten() for n, g in part.items()) for part in parts])

    runs: Sequence[Callable[[], Tensor]] = (lambda: scores(loss, params, batches, direction), loop, vmapped)
    return dict(zip(LIBRARIES, runs, strict=True))


def _dot(a: Params, b: Params) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def compare() -> list[Row]:
    """Time, agreement and memory."""
    found = scorers()
    ours = found["forward mode"]()
    rows = timing_rows("300 scores", in_turns(found, ROUNDS), LIBRARIES, "forward mode")
    for name, run in list(found.items())[1:]:
        apart = float((run() - ours).abs().max() / ours.abs().max())
        note = "largest difference from ours, of the largest score"
        rows.append(Row("300 scores: agreement", LIBRARIES[name], name, apart, apart, apart, "relative", note))
    for name in found:
        growth = memory(name)
        note = "by how much the resident memory rises at most, in a process of its own"
        rows.append(Row("300 scores: memory", LIBRARIES[name], name, growth, growth, growth, "MB", note))
    return rows


def memory(name: str) -> float:
    """Megabytes that a way to score adds to the peak of a process of its own."""
    code = f"from {__name__} import growth; print(growth({name!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def growth(name: str) -> float:
    """As :func:`memory`, in this process."""
    torch.set_num_threads(1)
    run = scorers()[name]
    before = psutil.Process().memory_info().rss / 2**20
    with PeakMemory(interval=0.002) as peak:
        run()
    return peak.megabytes - before
