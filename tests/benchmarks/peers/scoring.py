"""Scores direction . g_z of candidates: molft's forward mode, a backward pass for each molecule, and ``vmap(grad)``."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import torch
from torch import Tensor
from torch.func import grad, vmap

from molft_utils.data import load_secondary
from molft_utils.experiments import PeakMemory
from molft_utils.influence import Params, gradient, molecule_loss, scores, trained_parameters
from molft_utils.molformer import load_model
from molft_utils.training import molecule_batches
from rows import Row, agreement, in_turns, timing_rows, write

BATCH, ROUNDS = 32, 5

LIBRARIES = {"forward mode": "molft", "a backward pass each": "torch", "vmap(grad)": "torch"}


def scorers() -> list[Callable[[], Tensor]]:
    """Each way to score the 300 secondary molecules in a random direction, on the mini checkpoint."""
    model = load_model("mini")
    model.config.canonical_smiles = True
    loss, params, table = molecule_loss(model), trained_parameters(model), load_secondary()
    torch.manual_seed(0)
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    batches, singles = (molecule_batches(model, table, size)[0] for size in (BATCH, 1))

    def loop() -> Tensor:
        each = (gradient(loss, params, [one]) for one in singles)
        return torch.stack([torch.stack([(g[name] * direction[name]).sum() for name in g]).sum() for g in each])

    def one_loss(p: Params, ids: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        return loss(p, {"input_ids": ids[None], "attention_mask": mask[None], "labels": label[None]})[0]

    each = vmap(grad(one_loss), in_dims=(None, 0, 0, 0))

    def vmapped() -> Tensor:
        parts = [each(params, *batch.values()) for batch in batches]
        return torch.cat([sum(g.flatten(1) @ direction[n].flatten() for n, g in part.items()) for part in parts])

    return [lambda: scores(loss, params, batches, direction), loop, vmapped]


def memory(name: str) -> float:
    """By how many MB the resident memory rises at most while the scores are computed in one way."""
    score = dict(zip(LIBRARIES, scorers(), strict=True))[name]
    before = psutil.Process().memory_info().rss / 2**20
    with PeakMemory(interval=0.002) as peak:
        score()
    return peak.megabytes - before


def memory_rows() -> list[Row]:
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:  # a new one for each way
        risen = dict(zip(LIBRARIES, processes.map(memory, LIBRARIES), strict=True))
    note = "by how much the resident memory rises at most, in a process of its own"
    return [Row("300 scores: memory", LIBRARIES[name], name, mb, mb, mb, "MB", note) for name, mb in risen.items()]


def compare() -> list[Row]:
    found = dict(zip(LIBRARIES, scorers(), strict=True))
    ours = found["forward mode"]()
    rows = timing_rows("300 scores", in_turns(found, ROUNDS), LIBRARIES, "forward mode")
    rows += memory_rows()
    return rows + [agreement("300 scores", LIBRARIES[name], name, found[name](), ours) for name in list(found)[1:]]


if __name__ == "__main__":
    write("scoring", compare())
