"""Exercises of notebooks 4 to 6: influence, data values, adapters."""

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from peft import LoraConfig, get_peft_model
from torch import nn

from ...evaluation import grade, load_bank, load_results, results
from ...shapley import exact_values, rank_correlation
from .checking import Missed, exercise, require_close


@exercise(
    "04.1", "a change of the loss",
    "Having it changes the loss by -score / n.", "Leaving it out does the opposite: score / n, with its sign.",
)  # fmt: skip
def left_out(answer: float) -> None:
    """How the query's loss changes when one molecule of 3,000, with score -0.6, is left out."""
    mistakes = {
        "the size is right. A negative score means that having it raises the loss; here it is left out.": 2e-4,
        "the score is for the mean loss over 3,000 molecules, and this is one of them.": -0.6,
        "divide by n, do not multiply: the score is for the mean loss over n molecules.": -0.6 * 3000,
    }
    require_close(answer, -0.6 / 3000, 1e-6, mistakes)


@exercise(
    "04.2", "the function lissa_step, not called",
    "h <- v + h - (H h + lambda h) / sigma.", "return v + h - (product + damping * h) / sigma.",
)  # fmt: skip
def lissa_step(answer: Callable[..., np.ndarray]) -> None:
    """One step of LiSSA; repeated, and divided by the scale, it must solve (H + damping I) s = v."""
    rng, eye = np.random.default_rng(0), np.eye(6)
    root = rng.normal(size=(6, 6))
    H, v, damping = root @ root.T / 6, rng.normal(size=6), 0.3
    sigma = 1.2 * float(np.linalg.eigvalsh(H)[-1])
    h = v.copy()
    with np.errstate(all="ignore"):
        for _ in range(3000):
            h = np.asarray(answer(h, v, H @ h, damping, sigma), dtype=float)
    if not np.isfinite(h).all():
        raise Missed("the steps diverge: subtract the curvature's part, divided by sigma.")
    mistakes = {
        "the damping is not divided by sigma: lambda belongs inside the bracket, (H + lambda I) h / sigma.":
            np.linalg.solve(H + sigma * damping * eye, v),
        "the damping is missing.": np.linalg.solve(H, v),
        "return h itself: the division by sigma comes once, after the last step.":
            np.linalg.solve((sigma - 1) * eye + (H + damping * eye) / sigma, v) / sigma,
    }  # fmt: skip
    require_close(h / sigma, np.linalg.solve(H + damping * eye, v), 1e-4, mistakes)


@exercise(
    "04.3", "an array of scores [test molecules, training molecules]",
    "kernel.gradient_products() shows the form.",
    "A mean of two dampings, or similarity times residuals.", is_open=True,
)  # fmt: skip
def own_score(answer: np.ndarray, n_queries: int | None = None, n_train: int | None = None) -> str:
    """Scores of your own, graded by retrained models (:func:`~molft_utils.evaluation.grade`)."""
    bank = load_bank()
    whole = len(bank.labels), bank.members.shape[1]
    expected = (n_queries or whole[0], n_train or whole[1])
    values = np.asarray(answer, dtype=float)
    if values.shape != expected:
        raise Missed(f"expected one score per pair, [test, training] = {list(expected)}, got {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise Missed("some scores are not finite.")
    if expected != whole:
        return f"The form is right. The leaderboard needs all molecules: {list(whole)}."
    display(grade(values).round(3))
    return "Your place is in the table."


#: The toy of notebook 5: four molecules on a line, of which the last has a wrong label.
_X, _Y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, -1.0])
_X_VAL = np.array([0.5, 1.5, 2.5])


def _utility(x: np.ndarray, y: np.ndarray, players: Sequence[int]) -> float:
    """Minus the mean squared error on y = x of a ridge regression (alpha 0.1, free intercept) on some players."""
    if not len(players):
        return -float(np.mean((_X_VAL - y.mean()) ** 2))
    a, b = x[list(players)], y[list(players)]
    slope = ((a - a.mean()) * (b - b.mean())).sum() / (((a - a.mean()) ** 2).sum() + 0.1)
    return -float(np.mean((b.mean() + slope * (_X_VAL - a.mean()) - _X_VAL) ** 2))


@exercise(
    "05.1", "two values, that of B and that of its copy",
    "permutation_values takes five rows as well as four.",
    "np.vstack([x, x[1]]), np.append(y, y[1]), n_permutations=None.",
)  # fmt: skip
def copy_of_b(answer: Sequence[float]) -> None:
    """The values of B and of its exact copy."""
    before = exact_values(functools.partial(_utility, _X, _Y), 4)[1]
    X, Y = np.append(_X, _X[1]), np.append(_Y, _Y[1])
    doubled = exact_values(functools.partial(_utility, X, Y), 5)[[1, 4]]
    mistakes = {
        "equal, yes, but not half of the old value each: what both add together depends on the others.":
            [before / 2] * 2,
        "that is the old value twice: the copy takes something away from the original.": [before, before],
        "symmetry: the two values must be equal.": [before, 0.0],
    }  # fmt: skip
    require_close(answer, doubled, 0.01, mistakes)


@exercise(
    "05.2", "the function walk, which returns four numbers, not called",
    "Keep the utility of the last prefix; stop before a step once |U(all) - U(prefix)| <= tolerance.",
    "contributions[player] = utility(order[: k + 1]) - last, and zero for those who come after the stop.",
)  # fmt: skip
def truncated_walk(answer: Callable[..., np.ndarray]) -> None:
    """A walk through a permutation that stops once the utility is within a tolerance of that of all."""
    utility = functools.partial(_utility, _X, _Y)
    orders = list(itertools.permutations(range(4)))
    for tolerance in (1.0, 0.2):
        expected = np.array([_truncated(order, tolerance) for order in orders])
        found = np.array([np.asarray(answer(utility, order, tolerance), dtype=float) for order in orders])
        mistakes = {
            "it never stops: check the difference to U(all) before each step.": [_truncated(o, -1.0) for o in orders],
            "the contributions are right, but in the order of joining: put each at its player's index.":
                [e[list(o)] for o, e in zip(orders, expected, strict=True)],
            "it stops one step late: check before the next molecule joins, not after.":
                [_truncated(o, tolerance, late=True) for o in orders],
        }  # fmt: skip
        require_close(found, expected, 1e-9, mistakes)


def _truncated(order: Sequence[int], tolerance: float, late: bool = False) -> np.ndarray:
    """Contributions of the four players; ``late`` counts one more step once the utility is near that of all."""
    of_all, last, found, near = _utility(_X, _Y, range(4)), _utility(_X, _Y, ()), np.zeros(4), False
    for k, player in enumerate(order):
        now_near = abs(of_all - last) <= tolerance
        if now_near and (near or not late):
            break
        near = now_near
        now = _utility(_X, _Y, order[: k + 1])
        found[player], last = now - last, now
    return found


@exercise(
    "05.3", "one value for each molecule of the pool",
    "MurckoScaffoldSmiles(smiles) names a scaffold.",
    "knn_values, with only those validation molecules whose scaffold is new.", is_open=True,
)  # fmt: skip
def values_for_new_scaffolds(answer: Sequence[float], values: np.ndarray) -> str:
    """Values for validation molecules whose scaffold is new."""
    mine = np.asarray(answer, dtype=float)
    if mine.shape != np.shape(values):
        raise Missed(f"expected one value per molecule of the pool, {list(np.shape(values))}, got {list(mine.shape)}.")
    return (
        f"Rank correlation with the earlier values: {rank_correlation(mine, np.asarray(values)):.2f}. Two halves of "
        f"the same work do not agree perfectly either: compare with that before you call the values different."
    )


@exercise(
    "06.1", "three numbers: (rank, rate, trained)",
    "The rows with sweep['best'] have one rate for each rank.",
    "Compare their column 'validation'; answer (rank, rate, trained).",
)  # fmt: skip
def best_rank(answer: Sequence[float]) -> None:
    """Rank, rate and trained parameters of the best LoRA on all layers, four epochs."""
    sweep = results.sweep()
    rows = sweep[sweep["name"].str.startswith("lora-all") & (sweep["epochs"] == 4) & sweep["best"]]
    rows = rows.assign(rank=rows["name"].str.extract(r"r = (\d+)")[0].astype(int))
    triples = rows[["rank", "rate", "trained"]].to_numpy(dtype=float)
    mistakes = {"that one is best on the *test* split, which must choose nothing.": triples[rows["test"].argmin()]}
    mistakes |= {f"rank {triple[0]:.0f} is not the best on validation.": triple for triple in triples}
    require_close(answer, triples[rows["validation"].argmin()], 1e-6, mistakes)


@exercise(
    "06.2", "the function or class LoRALinear, not called",
    "layer(x) + alpha / r * x @ A.T @ B.T, with the layer frozen by requires_grad_(False).",
    "merge: a deep copy of the layer, with alpha / r * B @ A added to its weight under torch.no_grad().",
)  # fmt: skip
def lora_linear(answer: Callable[[nn.Linear, int, float], Any]) -> str:
    """A LoRA layer that is equal to the library's, before and after merging."""
    r, alpha = 3, 6
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        layer, x = nn.Linear(12, 7), torch.randn(5, 12)
        ours = answer(copy.deepcopy(layer), r, alpha)
        _require_start(ours, layer, x)
        theirs = get_peft_model(
            nn.Sequential(copy.deepcopy(layer)), LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"])
        )
        A, B = (next(p for name, p in theirs.named_parameters() if f"lora_{letter}" in name) for letter in "AB")
        B.normal_()
        ours.A.copy_(A)
        ours.B.copy_(B)
        expected = theirs(x)
        mistakes = {"the update is there, but not its scale alpha / r.": layer(x) + x @ A.T @ B.T}
        require_close(ours(x), expected, 1e-5, mistakes)
        if not torch.allclose(ours.merge()(x), expected, atol=1e-5):
            raise Missed("forward is right; merge() is not: W + alpha / r * B @ A.")
        if not torch.allclose(ours(x), expected, atol=1e-5):
            raise Missed("merge() has changed the layer itself, so the update counts twice: copy the layer first.")
    return "Equal to peft's, both separate from the weights and merged into them."


def _require_start(ours: Any, layer: nn.Linear, x: torch.Tensor) -> None:
    """A and B alone train, the layer's output is unchanged, and A is not zero."""
    trains = {name for name, p in ours.named_parameters() if p.requires_grad}
    if trains != {"A", "B"}:
        raise Missed(f"only A and B should train; in yours it is {', '.join(sorted(trains)) or 'nothing'}.")
    if not torch.allclose(ours(x), layer(x), atol=1e-5):
        raise Missed("at the start the output must be that of the layer: B = 0.")
    if not ours.A.any():
        raise Missed("A and B are both zero: then both gradients are zero, and nothing is ever learnt.")


@exercise(
    "06.3", "a table with the columns selection, method, seeds, rates",
    "One row per cell, with the columns selection, method, seeds, rates.",
    "seeds times rates, summed over the rows, is at most 36.", is_open=True,
)  # fmt: skip
def plan_of_36(answer: Any) -> str:
    """How to spend 36 models: one row per cell."""
    plan = pd.DataFrame(answer)
    if missing := [name for name in ("selection", "method", "seeds", "rates") if name not in plan]:
        raise Missed(f"the plan lacks the column {missing[0]!r}.")
    n_models = int((plan["seeds"] * plan["rates"]).sum())
    if n_models > 36:
        raise Missed(f"that is {n_models} models; you have 36.")
    sd = load_results("grid").groupby("variant")["rmse"].std().median()
    reach = 2 * sd * (2 / plan["seeds"]) ** 0.5
    found = ", ".join(f"{s}/{m} {r:.3f}" for s, m, r in zip(plan["selection"], plan["method"], reach, strict=True))
    return f"{n_models} models. With one rate and so many seeds a cell can show a difference of about (logD): {found}."
