"""Results of record about influence itself: do the scores predict retraining, does LiSSA solve, are wrong labels found?

``data/results/lds.csv`` has one row for each score, damping and seed of the scored model. All are graded on the
validation and on the test molecules; the damping that is best on the *validation* molecules is the kernel's
(``selection.KERNEL_DAMPING``). The Hessian has no kernel: LiSSA solves for one query at a time, and some test molecules
of one model must do. ``data/results/influence.csv`` has one row a seed: LiSSA against the kernel, at LiSSA's
damping, and how well each of ``FINDERS`` finds the wrong labels. ``make results`` makes both.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from ..data import table_hash
from ..evaluation import BANK, LDS, auroc, lds, load_bank, records
from ..experiments import commit, inputs_of, pipeline, selection
from ..files import DATA_FOLDER, file_hash
from ..influence import InfluenceResult, Kernel, gradient, lissa, molecule_loss, scores, trained_parameters
from ..profiles import Settings, settings
from ..shapley import rank_correlation
from ..training import molecule_batches

#: Shares of the largest eigenvalue.
DAMPINGS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)

#: Buckets of the kernel's sketch; four times as many as in the notebook.
SKETCH = 65_536

#: The Hessian's damping (a smaller one meets its negative eigenvalues), LiSSA's products for it, and its queries.
HESSIAN_DAMPING, HESSIAN_DEPTH, HESSIAN_QUERIES = 0.25, 50, 40

#: What might find the wrong labels -> a number for each secondary molecule, high where it is suspicious.
FINDERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "low_score": lambda table: -table["score"],
    "low_product": lambda table: -table["dot_product"],
    "high_loss": lambda table: table["loss"],
    "self_influence": lambda table: table["self_influence"],
    "left_out_size": lambda table: table["left_out"].abs(),
    "left_out_too_high": lambda table: -table["left_out"],
}


def run_study(seed: int) -> None:
    """Compute the rows of one seed, unless they are on record with the same inputs."""
    cfg = settings("class", seed=seed)
    inputs = _inputs(cfg)
    if records.is_recorded("influence", {"seed": seed}, inputs):
        return
    kernel, n_validation = _kernel(cfg)
    for name, damping, found in _scored(kernel, seed):
        row = _graded(found[:n_validation], found[n_validation:])
        key = {"score": name, "damping": damping, "seed": seed}
        records.add("lds", key, {**row, "commit": commit()}, inputs)
    lissa = selection.influence(cfg, selection.secondary_table(cfg))
    row = _solver_and_finders(cfg, kernel, lissa, n_validation)
    records.add("influence", {"seed": seed}, {**row, "commit": commit()}, inputs)


def run_ensemble(seeds: Sequence[int]) -> None:
    """The mean of the scores of all seeds' models, as one more score (Park et al. 2023 average over models as well)."""
    cfg = settings("class", seed=seeds[0])
    damping = selection.KERNEL_DAMPING
    inputs = {**_inputs(cfg), "seeds": list(seeds)}
    key = {"score": f"Gauss-Newton, {len(seeds)} models", "damping": damping, "seed": seeds[0]}
    if records.is_recorded("lds", key, inputs):
        return
    kernels = [_kernel(cfg.replace(seed=seed)) for seed in seeds]
    mean = np.mean([kernel.scores(damping * kernel.largest_eigenvalue) for kernel, _ in kernels], axis=0)
    row = _graded(*np.split(mean, [kernels[0][1]]))
    records.add("lds", key, {**row, "commit": commit()}, inputs)


def run_hessian(seed: int) -> None:
    """The Hessian's scores for some test molecules, by the model of one seed."""
    cfg = settings("class", seed=seed)
    inputs = {**_inputs(cfg), "depth": HESSIAN_DEPTH, "queries": HESSIAN_QUERIES}
    key = {"score": f"Hessian, {HESSIAN_QUERIES} molecules", "damping": HESSIAN_DAMPING, "seed": seed}
    if records.is_recorded("lds", key, inputs):
        return
    train, bank = selection.with_secondary(cfg, selection.secondary_table(cfg)), load_bank("test")
    fit = pipeline.after_mlm(cfg, train, early_stopping=False)
    asked, part = bank.some(HESSIAN_QUERIES)
    found = _hessian_scores(fit.model, train, pipeline.tables(cfg).test.iloc[asked], cfg.influence.batch_size)
    row = {"validation": np.nan, **_on_test(lds(found, part)), "commit": commit()}
    records.add("lds", key, row, inputs)


def _hessian_scores(model: PreTrainedModel, train: pd.DataFrame, queries: pd.DataFrame, batch_size: int) -> np.ndarray:
    """Scores [n_queries, n_train]; scale and damping are those that the first query has found."""
    loss, params = molecule_loss(model), trained_parameters(model)
    batches, rows = molecule_batches(model, train, batch_size)
    options: dict = {"damping": HESSIAN_DAMPING, "relative": True}
    order, found = np.argsort(rows), []
    for i in range(len(queries)):
        v = gradient(loss, params, molecule_batches(model, queries.iloc[[i]], 1)[0])
        solved = lissa(loss, params, batches, v, **options, depth=HESSIAN_DEPTH, curvature="hessian")
        options = {"damping": solved.damping, "scale": solved.scale}
        found.append(scores(loss, params, batches, solved.direction).cpu().numpy()[order])
    return np.stack(found)


def _inputs(cfg: Settings) -> dict:
    return {
        **inputs_of(cfg, selection.INFLUENCE),
        "train": table_hash(selection.with_secondary(cfg, selection.secondary_table(cfg))),
        "bank": file_hash(DATA_FOLDER / BANK),
        "dampings": DAMPINGS,
        "sketch": SKETCH,
    }


def _kernel(cfg: Settings) -> tuple[Kernel, int]:
    """The kernel of a seed's model with the validation molecules, then the test molecules as queries."""
    parts, train = pipeline.tables(cfg), selection.with_secondary(cfg, selection.secondary_table(cfg))
    fit = pipeline.after_mlm(cfg, train, early_stopping=False)
    queries = pd.concat([parts.validation, parts.test], ignore_index=True)
    return selection.kernel(fit, train, queries, SKETCH), len(parts.validation)


def _scored(kernel: Kernel, seed: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """Name, damping (0 where there is none) and scores [n_queries, n_train] of each method."""
    yield "random", 0.0, np.random.default_rng(seed).normal(size=kernel.cross.shape)
    yield "gradient product", 0.0, kernel.gradient_products()
    for damping in DAMPINGS:
        yield "Gauss-Newton", damping, kernel.scores(damping * kernel.largest_eigenvalue)


def _graded(on_validation: np.ndarray, on_test: np.ndarray) -> dict:
    """LDS of scores for the validation and the test molecules."""
    test = lds(on_test, load_bank("test"))
    return {"validation": lds(on_validation, load_bank("validation")).value, **_on_test(test)}


def _on_test(found: LDS) -> dict:
    low, high = found.interval
    return {"test": found.value, "low": low, "high": high, "ceiling": found.ceiling, "n_queries": len(found.per_query)}


def _solver_and_finders(cfg: Settings, kernel: Kernel, lissa: InfluenceResult, n_validation: int) -> dict:
    """LiSSA beside the kernel at its damping, and areas under the ROC curve."""
    damping, secondary = lissa.direction.damping, slice(-len(lissa.table), None)
    exact = kernel.scores(damping)[:n_validation].mean(axis=0)[secondary]
    table = lissa.table.sort_index().assign(
        self_influence=kernel.self_influence(damping)[secondary], left_out=kernel.leave_one_out(damping)[secondary]
    )
    row: dict[str, float] = {
        "damping": cfg.influence.damping,
        "largest_eigenvalue": damping / cfg.influence.damping,
        "kernel_largest_eigenvalue": kernel.largest_eigenvalue,
        "rank_correlation": rank_correlation(lissa.scores.numpy(), exact),
        "residual": lissa.direction.residual,
        "products": lissa.direction.n_products,
        "overhead": lissa.direction.n_overhead,
        "seconds": lissa.seconds,
    }
    for name, suspicion in FINDERS.items():
        area, low, high = auroc(table["corrupted"], suspicion(table))
        row |= {f"auroc_{name}": area, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
    return row
