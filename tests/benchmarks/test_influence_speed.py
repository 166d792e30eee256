"""What influence costs beside a training of the same molecules; times of single steps are in ``peers/scoring.py``.

Each piece of work runs in a process of its own, as a process's peak memory never falls.
"""

import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from molft_utils import finetune, load_lipophilicity, load_model, load_secondary, settings
from molft_utils.influence import (
    Recipe,
    influence_kernel,
    influence_scores,
    molecule_loss,
    scores,
    trained_parameters,
    unrolled_scores,
)
from molft_utils.training import load_moments, molecule_batches

CFG = settings("class", influence_depth=100)  # a quarter of LiSSA's products
N_TRAIN, N_QUERIES = 400, 50


def training(table, queries, folder=None):
    return finetune(load_model("mini"), table, None, CFG, None, folder).model


def kernel(table, queries):
    influence_kernel(training(table, queries), table, queries, sketch=16_384)


def path(table, queries):
    """After the first and after the last epoch."""
    with tempfile.TemporaryDirectory() as folder:
        model = training(table, queries, Path(folder))
        influence_kernel(model, table, queries, sketch=16_384, checkpoints=load_moments(Path(folder))[::3])


def lissa(table, queries):
    influence_scores(training(table, queries), table, queries, queries, CFG)


def unrolled(table, queries):
    """Its own training, of half as many epochs, and back for one mean loss."""
    unrolled_scores(Recipe(), table, [queries])


def measured(work):
    """Seconds, and by how many MB the peak memory grows."""
    torch.set_num_threads(1)
    table, queries = load_lipophilicity().head(N_TRAIN), load_lipophilicity().tail(N_QUERIES)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    work(table, queries)
    seconds = time.process_time() - began
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def in_a_process(work, *arguments):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result(timeout=600)


def test_influence_in_multiples_of_a_training():
    works = (training, kernel, path, lissa, unrolled)
    table = pd.DataFrame({work.__name__: in_a_process(measured, work) for work in works}, ["seconds", "peak memory"]).T
    table.loc[["kernel", "path", "lissa"], "seconds"] -= table.loc["training", "seconds"]
    multiples = (table / table.loc["training"]).round(1)
    print(f"\nmultiples of one training of four epochs:\n{multiples}")
    assert multiples.loc["path", "seconds"] < 3 * multiples.loc["kernel", "seconds"]


def peak_growth():
    """Peak memory that scoring adds, in MB."""
    model = load_model("mini")
    model.config.canonical_smiles = True
    loss, params = molecule_loss(model), trained_parameters(model)
    batches = molecule_batches(model, load_secondary(), 32)[0]
    with torch.no_grad():
        loss(params, batches[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores(loss, params, batches, {name: torch.randn_like(p) for name, p in params.items()})
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def test_scoring_adds_little_memory():
    growth = in_a_process(peak_growth)
    print(f"\nscoring 300 molecules adds {growth:.0f} MB to the peak")
    assert growth < 500
