"""Seconds and peak memory of each kind of work: what ``make hub`` and ``make gpu`` measure, in a process for each.

The work runs on the GPU where there is one. The weights may be random: the errors then mean nothing, the costs are
those of the architecture.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..data import Split
from ..experiments import PeakMemory, grid, in_folder, pipeline, seconds_a_step, selection
from ..influence import gauss_newton_product, influence_kernel, molecule_loss, trained_parameters
from ..molformer import device, load_model
from ..profiles import EVERY_METHOD, Settings, settings
from ..training import finetune, molecule_batches, predict, pretrain_mlm


def cost(what: str, cfg: Settings, repeats: int = 1) -> dict:
    """Measure one kind of work in this process.

    Parameters
    ----------
    what
        A key of ``UNITS``.
    cfg
        ``limit`` decides on the number of molecules.
    repeats
        The work is done so often, and the last time counts: the first warms up a GPU.

    Returns
    -------
    dict
        ``seconds`` a ``unit``, ``megabytes`` at the peak, and the molecules of a ``batch``, as JSON.
    """
    with PeakMemory() as memory:
        if what in EVERY_METHOD:
            # Its first round warms up and does not count.
            seconds = float(seconds_a_step({what: (what, cfg)}, pipeline.tables(cfg).train, repeats + 2).iloc[0])
        else:
            seconds = [WORK[what](cfg, pipeline.tables(cfg)) for _ in range(repeats)][-1]
    batch = {"mlm": cfg.mlm.batch_size, "lissa": cfg.influence.batch_size}.get(what, cfg.regression.batch_size)
    return {"seconds": seconds, "unit": UNITS[what], "megabytes": memory.megabytes, "batch": batch}


def grid_cost(cfg: Settings) -> dict:
    """Two cells of a grid in two processes at a time: seconds a cell, and the megabytes of both processes together."""
    with tempfile.TemporaryDirectory() as name, in_folder(Path(name)):
        pipeline.mlm(cfg)  # both cells start from it
        began = time.perf_counter()
        rows = grid.run_grid(cfg, selections=("none",), methods=("full", "lora"), n_jobs=2)
        seconds = (time.perf_counter() - began) / len(rows)
    megabytes = float(rows["peak_memory"].sum())
    return {"seconds": seconds, "unit": UNITS["grid"], "megabytes": megabytes, "batch": cfg.regression.batch_size}


def _loaded(cfg: Settings, task: str = "regression") -> PreTrainedModel:
    model = load_model(cfg.training.checkpoint, task=task)
    return model.to(device())  # type: ignore[arg-type]  # transformers' decorator hides the method's self from mypy


def _prediction(cfg: Settings, parts: Split) -> float:
    model, began = _loaded(cfg), time.perf_counter()
    predict(model, parts.test["smiles"])
    return (time.perf_counter() - began) / len(parts.test)


def _fit(cfg: Settings, parts: Split) -> float:
    fit = finetune(_loaded(cfg), parts.train, None, cfg.replace(epochs=1))
    return fit.seconds / -(-len(parts.train) // cfg.regression.batch_size)


def _mlm(cfg: Settings, parts: Split) -> float:
    fit = pretrain_mlm(_loaded(cfg, "mlm"), parts.train["smiles"], cfg.replace(mlm_epochs=1))
    return fit.seconds / -(-len(parts.train) // cfg.mlm.batch_size)


def _lissa(cfg: Settings, parts: Split) -> float:
    """A product with the Gauss-Newton matrix of one batch, the faster of two after a first."""
    model = _loaded(cfg)
    batch = molecule_batches(model, parts.train, cfg.influence.batch_size)[0][0]
    loss, params = molecule_loss(model), trained_parameters(model)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        gauss_newton_product(lambda p, b: loss(p, b).sqrt(), params, batch, params)  # any direction will do
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def _kernel(cfg: Settings, parts: Split) -> float:
    model, began = _loaded(cfg), time.perf_counter()
    influence_kernel(model, parts.train, parts.validation, sketch=selection.SKETCH)
    return (time.perf_counter() - began) / (len(parts.train) + len(parts.validation))


#: Kind of work -> what does it and returns its seconds a unit. Fine-tuning methods and the grid have their own.
WORK: dict[str, Callable[[Settings, Split], float]] = {
    "prediction": _prediction,
    "fit": _fit,
    "mlm": _mlm,
    "lissa": _lissa,
    "kernel": _kernel,
}

#: Kind of work -> the unit that a time is given for. A method's step is in full precision and without the Trainer.
UNITS = {
    "prediction": "molecule",
    "fit": "step",
    "mlm": "step",
    "lissa": "product",
    "kernel": "molecule",
    **dict.fromkeys(EVERY_METHOD, "step"),
    "grid": "cell",
}


def print_cost(what: str, profile: str, repeats: int = 1, **changes) -> None:
    """Print the cost of one kind of work as JSON, for the process that started this one."""
    cfg = settings(profile, **changes)
    print(json.dumps(grid_cost(cfg) if what == "grid" else cost(what, cfg, repeats)))
