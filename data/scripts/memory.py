"""Memory of a training step by fine-tuning method: what is counted, and the peak of a process of its own."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

import psutil
import torch

from molft_utils import load_model, settings
from molft_utils.experiments import PeakMemory, optimiser_bytes, pipeline
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification
from molft_utils.peft_methods import apply_method, trainable
from molft_utils.settings import EVERY_METHOD, Settings
from molft_utils.training import molecule_batches
from study import Row, Run

BATCH_SIZE, RUNS = 32, (0, 1, 2)

#: Name in the table -> the model. That of the published size has random weights, as only its shapes matter.
SIZES = {
    "mini": lambda: load_model("mini", head="linear"),
    "published size": lambda: MolformerForSequenceClassification(
        MolformerConfig(classifier_head="linear", num_labels=1)  # type: ignore[call-arg]  # transformers takes it, unnamed
    ),
}


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Trained parameters, and megabytes: gradients with AdamW's moments, and the peak above what a process starts with.

    The peak is the resident memory during two steps on 32 molecules, the model included.
    """

    size: str
    method: str

    kinds = ()
    files = ()

    def row(self, cfg: Settings) -> Row:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(measured, self, cfg).result()


def measured(recipe: StepMemory, cfg: Settings) -> Row:
    table = pipeline.tables(cfg).train.head(BATCH_SIZE)
    before = psutil.Process().memory_info().rss
    with PeakMemory(interval=0.002) as memory:
        plain = SIZES[recipe.size]()
        batch = molecule_batches(plain, table, BATCH_SIZE)[0][0]
        model = apply_method(plain, recipe.method, cfg).train()
        optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
        for _ in range(2):  # the moments are made by the first step
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    peak = memory.megabytes * 2**20 - before
    return {"trained": trainable(model)[0], "optimiser": optimiser_bytes(model) / 1e6, "peak": peak / 1e6}


def memory() -> Iterator[Run]:
    for size, method, run in product(SIZES, EVERY_METHOD, RUNS):
        key = {"size": size, "method": method, "run": run}
        yield Run("memory", key, settings("class"), StepMemory(size, method))
