"""Forward-mode scores against a backward pass for each molecule: time, and the memory that they add."""

import multiprocessing
import resource

import torch

from molft_utils import influence, load_model, load_secondary
from molft_utils.influence import gradient, scores
from molft_utils.training import molecule_batches


def problem():
    model = load_model("mini")
    model.config.canonical_smiles = True
    params = influence.trained_parameters(model)
    torch.manual_seed(0)
    direction = {name: torch.randn_like(p) for name, p in params.items()}
    batches, singles = (molecule_batches(model, load_secondary(), size)[0] for size in (32, 1))
    return influence.molecule_loss(model), params, direction, batches, singles


def test_forward_mode_is_faster_than_the_loop(fastest):
    loss, params, direction, batches, singles = problem()

    def loop():
        return [sum((g * direction[n]).sum() for n, g in gradient(loss, params, [one]).items()) for one in singles]

    seconds = fastest(3, forward=lambda: scores(loss, params, batches, direction), loop=loop)
    assert seconds["loop"] >= 1.5 * seconds["forward"]


def peak_growth(queue):
    """Peak memory that scoring adds, in MB, in a process of its own."""
    loss, params, direction, batches, _ = problem()
    with torch.no_grad():
        loss(params, batches[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores(loss, params, batches, direction)
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
