"""LiSSA's scores, one query at a time, and those of molft's kernel with the same damping, graded by real retraining."""

from typing import Any

import numpy as np
import pandas as pd

from molft_utils.evaluation import lds, lds_difference, load_bank
from molft_utils.influence import gradient, lissa, molecule_loss, scores, trained_parameters
from molft_utils.training import molecule_batches
from problem import Problem, cost, problem
from rows import Row, timed, write
from studies import kernel_of

#: LiSSA solves for one query at a time: test molecules at even distances, and products for each.
QUERIES, DEPTH = 40, 50


def compare() -> list[Row]:
    given = problem(0)
    kernel, (asked, bank) = kernel_of(given.cfg), load_bank().some(QUERIES)
    share, largest = given.cfg.influence_damping, kernel.largest_eigenvalue
    found, seconds = timed(lambda: np.stack([lissa_of(given, given.test.iloc[[row]], largest) for row in asked]))
    exact = kernel.scores(share * largest)[len(given.validation) :][asked]
    case, note = f"LDS, {QUERIES} test molecules, damping {share:g}", "95 % bootstrap interval"
    method, rows = f"LiSSA, {DEPTH} products", []
    for name, values in ((method, found), ("Gauss-Newton kernel", exact)):
        score = lds(values, bank)
        rows.append(Row(case, "molft", name, score.value, *score.interval, "rank correlation", note))
    value, interval = lds_difference(found, exact, bank)
    note += ", paired over queries and subsets"
    rows.append(Row(f"{case}: LiSSA minus kernel", "molft", "LiSSA", value, *interval, "rank correlation", note))
    note = f"for {len(given.train)} scores; extrapolated from {QUERIES} queries"
    return [*rows, cost("CPU time, 1,000 queries", "molft", method, 1000 * seconds / QUERIES, note)]


def lissa_of(given: Problem, query: pd.DataFrame, largest: float) -> np.ndarray:
    """Scores [n_train] for one query; the scale is known from the kernel, and not estimated again."""
    model = given.fit.model
    loss, params = molecule_loss(model), trained_parameters(model)
    batches, rows = molecule_batches(model, given.train, given.cfg.influence_batch_size)
    damping = given.cfg.influence_damping * largest
    v = gradient(loss, params, molecule_batches(model, query, 1)[0])
    plan: dict[str, Any] = dict(damping=damping, scale=1.5 * (largest + damping), depth=DEPTH)
    solved = lissa(loss, params, batches, v, **plan)
    return scores(loss, params, batches, solved.direction).numpy()[np.argsort(rows)]


if __name__ == "__main__":
    write("lissa", compare())
