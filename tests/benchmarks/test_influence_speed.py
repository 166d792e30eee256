"""The memory that scores in forward mode add; their time is compared in ``peers/scoring.py``."""

import multiprocessing
import resource

import torch

from molft_utils import load_model, load_secondary
from molft_utils.influence import molecule_loss, scores, trained_parameters
from molft_utils.training import molecule_batches


def peak_growth(queue):
    """Peak memory that scoring adds, in MB, in a process of its own."""
    model = load_model("mini")
    model.config.canonical_smiles = True
    loss, params = molecule_loss(model), trained_parameters(model)
    batches = molecule_batches(model, load_secondary(), 32)[0]
    with torch.no_grad():
        loss(params, batches[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores(loss, params, batches, {name: torch.randn_like(p) for name, p in params.items()})
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def test_scoring_adds_little_memory():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=peak_growth, args=(queue,))
    process.start()
    growth = queue.get(timeout=300)
    process.join()
    print(f"\nscoring 300 molecules adds {growth:.0f} MB to the peak")
    assert growth < 500
