"""`make bench`: forward-mode scores against a backward pass for each molecule, time and memory, in one run."""

import multiprocessing
import resource
import time

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
    return model, influence.molecule_loss(model), params, direction


def test_forward_mode_is_faster_than_the_loop():
    model, loss, params, direction = problem()
    table = load_secondary()
    batches, _ = molecule_batches(model, table, 32)
    singles, _ = molecule_batches(model, table, 1)

    def forward():
        return scores(loss, params, batches, direction)

    def loop():
        return [sum((g * direction[n]).sum() for n, g in gradient(loss, params, [one]).items()) for one in singles]

    seconds = {}
    for name, run in (("forward mode", forward), ("loop of backward passes", loop)):
        runs = []
        for _ in range(3):
            began = time.perf_counter()
            found = run()
            runs.append(time.perf_counter() - began)
        seconds[name] = min(runs)
        print(f"\n{name}: {len(table)} scores in {seconds[name]:.2f} s", end="")
    ratio = seconds["loop of backward passes"] / seconds["forward mode"]
    print(f"\nforward mode is {ratio:.1f} times as fast")
    assert len(found) == len(table) and ratio >= 1.5


def peak_growth(queue):
    """Peak memory that scoring adds, in MB, in a process of its own."""
    model, loss, params, direction = problem()
    batches, _ = molecule_batches(model, load_secondary(), 32)
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
