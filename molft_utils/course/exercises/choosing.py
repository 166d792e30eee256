"""Exercises of notebooks 4 to 6: influence, values, adapters."""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from ...evaluation import records
from ...evaluation.of_record import record_sweep
from ...shapley import rank_correlation
from .exercise import Exercise, Missed, require_callable, require_close


def left_out(answer: float) -> None:
    """04.1: the query's loss when a molecule with score -0.6 of 3,000 is left out."""
    require_close(
        answer, -0.6 / 3000, 1e-6,
        {
            "The size is right. A negative score says that having it raises the loss; here it is left out.": 2e-4,
            "One molecule of 3,000 has a three-thousandth of the say.": -0.6,
            "That divides by the wrong thing: the score is for the mean loss over n molecules.": -0.6 * 3000,
        },
    )  # fmt: skip


def lissa_step(answer: Callable[..., np.ndarray]) -> None:
    """04.2: one step of LiSSA; iterated and divided by the scale it must solve (H + damping I) s = v."""
    require_callable(answer, "lissa_step")
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    H, v, damping = root @ root.T / 6, rng.normal(size=6), 0.3
    sigma = 1.2 * float(np.linalg.eigvalsh(H)[-1])
    exact = np.linalg.solve(H + damping * np.eye(6), v)
    h = v.copy()
    with np.errstate(all="ignore"):
        for _ in range(3000):
            h = np.asarray(answer(h, v, H @ h, damping, sigma), dtype=float)
    if not np.isfinite(h).all():
        raise Missed("It explodes: what the curvature takes away must be subtracted, and divided by sigma.")
    require_close(
        h / sigma, exact, 1e-4,
        {
            "The damping is not divided by sigma: lambda belongs inside the bracket, (H + lambda I) h / sigma.":
                np.linalg.solve(H + sigma * damping * np.eye(6), v),
            "The damping is missing.": np.linalg.solve(H, v),
            "Return h itself: the division by sigma comes once, after the last step.":
                np.linalg.solve((sigma - 1) * np.eye(6) + (H + damping * np.eye(6)) / sigma, v) / sigma,
        },
    )  # fmt: skip


def own_score(answer: np.ndarray, n_queries: int, n_train: int) -> str:
    """04.3: a score of one's own, to be graded by molft.grade."""
    values = np.asarray(answer, dtype=float)
    if values.shape != (n_queries, n_train):
        raise Missed(f"A score for each pair: [{n_queries}, {n_train}]; yours has the shape {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise Missed("Some scores are not finite.")
    return "molft.grade(answer) has its place on the board."


#: The toy of notebook 5: four molecules on a line, of which the last has a wrong label.
_X, _Y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, -1.0])
_X_VAL = np.array([0.5, 1.5, 2.5])


def _utility(x: np.ndarray, y: np.ndarray, players: Sequence[int]) -> float:
    """Minus the mean squared error on the line of a ridge (alpha 0.1, free intercept) trained on some players."""
    if not len(players):
        return -float(np.mean((_X_VAL - y.mean()) ** 2))
    a, b = x[list(players)], y[list(players)]
    slope = ((a - a.mean()) * (b - b.mean())).sum() / (((a - a.mean()) ** 2).sum() + 0.1)
    return -float(np.mean((b.mean() + slope * (_X_VAL - a.mean()) - _X_VAL) ** 2))


def _values(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Shapley values of all players, over all orders."""
    found, orders = np.zeros(len(x)), list(itertools.permutations(range(len(x))))
    for order in orders:
        path = [_utility(x, y, order[:k]) for k in range(len(x) + 1)]
        found[list(order)] += np.diff(path) / len(orders)
    return found


def copy_of_b(answer: Sequence[float]) -> None:
    """05.1: the values of B and of its exact copy."""
    before = _values(_X, _Y)[1]
    doubled = _values(np.append(_X, 1.0), np.append(_Y, 1.0))[[1, 4]]
    require_close(
        answer, doubled, 0.01,
        {
            "Equal, yes, but not half of the old value each: what the two add together depends on the rest.":
                [before / 2] * 2,
            "That is the old value twice: the copy takes away from the original.": [before, before],
            "Symmetry: the two cannot differ.": [before, 0.0],
        },
    )  # fmt: skip


def truncated_walk(answer: Callable[..., np.ndarray]) -> None:
    """05.2: a permutation walk that stops once the utility is within a tolerance of that of all."""
    require_callable(answer, "walk")
    calls: list[tuple[int, ...]] = []

    def utility(players: Sequence[int]) -> float:
        calls.append(tuple(players))
        return _utility(_X, _Y, players)

    orders = list(itertools.permutations(range(4)))
    for tolerance in (1.0, 0.2):
        expected = np.array([_truncated(order, tolerance) for order in orders])
        found = np.array([np.asarray(answer(utility, order, tolerance), dtype=float) for order in orders])
        if found.shape != expected.shape:
            raise Missed(
                f"walk returns one number for each of the four players; yours has the shape {list(found.shape[1:])}."
            )
        require_close(
            found, expected, 1e-9,
            {
                "It never stops: check the gap to U(all) before each step.": [_truncated(o, -1.0) for o in orders],
                "The contributions are right, but in the order of joining: put each at its player's place.":
                    [e[list(o)] for o, e in zip(orders, expected, strict=True)],
                "It stops one step late: check before the next molecule joins, not after.":
                    [_truncated(o, tolerance, late=True) for o in orders],
            },
        )  # fmt: skip


def _truncated(order: Sequence[int], tolerance: float, late: bool = False) -> np.ndarray:
    """Contributions of the four players; ``late`` counts one more step once the utility is near."""
    full, last, found, near = _utility(_X, _Y, range(4)), _utility(_X, _Y, ()), np.zeros(4), False
    for k, player in enumerate(order):
        now_near = abs(full - last) <= tolerance
        if now_near and (near or not late):
            break
        near = now_near
        now = _utility(_X, _Y, order[: k + 1])
        found[player], last = now - last, now
    return found


def values_for_new_scaffolds(answer: Sequence[float], values: np.ndarray) -> str:
    """05.3: values for validation molecules whose scaffold is new."""
    mine = np.asarray(answer, dtype=float)
    if mine.shape != np.shape(values):
        raise Missed(f"One value for each molecule of the pool: {len(values)}; yours has the shape {list(mine.shape)}.")
    return (
        f"Rank correlation with the values of before: {rank_correlation(mine, np.asarray(values)):.2f}. "
        f"Two halves of the same work agree to a certain degree, too: compare before you call it different."
    )


def best_rank(answer: Sequence[float]) -> None:
    """06.1: rank, rate and trained parameters of the best LoRA on all layers, four epochs."""
    sweep = record_sweep()
    rows = sweep[sweep["name"].str.startswith("lora-all") & (sweep["epochs"] == 4) & sweep["best"]]
    rows = rows.assign(rank=rows["name"].str.extract(r"r = (\d+)")[0].astype(int))
    triple = rows[["rank", "rate", "trained"]].to_numpy(dtype=float)
    expected = triple[rows["validation"].to_numpy().argmin()]
    by_test = triple[rows["test"].to_numpy().argmin()]
    mistakes = {f"Rank {rank:.0f} is not the best on validation.": (rank, *rest) for rank, *rest in triple.tolist()}
    require_close(
        answer, expected, 1e-6,
        {"That one is best on the *test* split, which chooses nothing.": by_test, **mistakes},
    )  # fmt: skip


class _Forgetful(nn.Module):
    """LoRA without its scale, for telling a usual mistake."""

    def __init__(self, layer: nn.Linear, A: torch.Tensor, B: torch.Tensor):
        super().__init__()
        self.layer, self.A, self.B = layer, A, B

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.A.T @ self.B.T


def lora_linear(answer: Callable[[nn.Linear, int, float], Any]) -> str:
    """06.2: a LoRA layer that is equal to the library's, before and after merging."""
    require_callable(answer, "LoRALinear")
    torch.manual_seed(0)
    layer, x, r, alpha = nn.Linear(12, 7), torch.randn(5, 12), 3, 6
    ours = answer(copy.deepcopy(layer), r, alpha)
    trains = {name for name, p in ours.named_parameters() if p.requires_grad}
    if trains != {"A", "B"}:
        raise Missed(f"What trains should be A and B alone; in yours it is {', '.join(sorted(trains)) or 'nothing'}.")
    if not torch.allclose(ours(x), layer(x), atol=1e-6):
        raise Missed("At the start the layer must be as it was: B = 0.")
    if not ours.A.detach().any():
        raise Missed("A and B are both zero: then neither has a gradient, and nothing ever moves.")
    theirs = get_peft_model(
        nn.Sequential(copy.deepcopy(layer)), LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"])
    )
    weights = dict(theirs.named_parameters())
    pair = {letter: next(p for name, p in weights.items() if f"lora_{letter}" in name) for letter in "AB"}
    with torch.no_grad():
        pair["B"].normal_()
        ours.A.copy_(pair["A"])
        ours.B.copy_(pair["B"])
        expected = theirs(x)
        if torch.allclose(ours(x), _Forgetful(layer, pair["A"], pair["B"])(x), atol=1e-5):
            raise Missed("The update is there, but not its scale alpha / r.")
        require_close(ours(x), expected, 1e-5)
        merged = ours.merge()
        if not torch.allclose(merged(x), expected, atol=1e-5):
            raise Missed("Forward is right; merge() is not: W + alpha / r * B @ A.")
        if not torch.allclose(ours(x), expected, atol=1e-5):
            raise Missed("merge() has changed the layer itself, so that the update counts twice: copy the layer first.")
    return "Equal to peft's, beside the weights and merged into them."


def plan_of_36(answer: Any) -> str:
    """06.3: 36 models, spent; a row a cell with the columns selection, method, seeds, rates."""
    plan = pd.DataFrame(answer)
    if missing := [name for name in ("selection", "method", "seeds", "rates") if name not in plan]:
        raise Missed(f"The plan lacks the column {missing[0]!r}.")
    n_models = int((plan["seeds"] * plan["rates"]).sum())
    if n_models > 36:
        raise Missed(f"That is {n_models} models; there are 36.")
    sd = records.read("grid").groupby("variant")["rmse"].std().median()
    reach = 2 * sd * (2 / plan["seeds"]) ** 0.5
    said = ", ".join(f"{s}/{m} {r:.3f}" for s, m, r in zip(plan["selection"], plan["method"], reach, strict=True))
    return f"{n_models} models. With one rate and so many seeds a cell can show a difference of about (logD): {said}."


EXERCISES = {
    "04.1": Exercise(
        left_out,
        ("Having it changes the loss by -score / n.", "Leaving it out does the opposite: score / n, with its sign."),
    ),
    "04.2": Exercise(
        lissa_step,
        ("h <- v + h - (H h + lambda h) / sigma.", "return v + h - (product + damping * h) / sigma."),
    ),
    "04.3": Exercise(
        own_score,
        ("kernel.gradient_products() shows the form.", "A mean of two dampings, or similarity times residuals."),
        open=True,
    ),
    "05.1": Exercise(
        copy_of_b,
        (
            "permutation_values takes five rows as well as four.",
            "np.vstack([x, x[1]]), np.append(y, y[1]), n_permutations=None.",
        ),
    ),
    "05.2": Exercise(
        truncated_walk,
        (
            "Keep the utility of the last prefix; stop before a step once |U(all) - U(prefix)| <= tolerance.",
            "contributions[player] = utility(order[: k + 1]) - last, and zero for those who were not asked.",
        ),
    ),
    "05.3": Exercise(
        values_for_new_scaffolds,
        (
            "MurckoScaffoldSmiles(smiles) names a scaffold.",
            "knn_values on the rows of validation molecules whose scaffold is new.",
        ),
        open=True,
    ),
    "06.1": Exercise(
        best_rank,
        (
            "The rows with sweep['best'] hold one rate for each rank.",
            "Compare their column 'validation'; answer (rank, rate, trained).",
        ),
    ),
    "06.2": Exercise(
        lora_linear,
        (
            "layer(x) + alpha / r * x @ A.T @ B.T, with the layer frozen by requires_grad_(False).",
            "merge: a deep copy of the layer, to whose weight alpha / r * B @ A is added under torch.no_grad().",
        ),
    ),
    "06.3": Exercise(
        plan_of_36,
        (
            "A table with the columns selection, method, seeds, rates.",
            "seeds times rates, summed over the rows, is at most 36.",
        ),
        open=True,
    ),
}
