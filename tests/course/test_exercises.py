"""Exercises: a right answer passes, usual mistakes are told apart, nothing is a traceback."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse.csgraph import connected_components

from molft_utils import DataError, load_model
from molft_utils.course import check, exercises
from molft_utils.course.exercises import EXERCISES
from molft_utils.evaluation import Difference, sweep
from molft_utils.shapley import permutation_values

NUMBERS = [f"{notebook:02}.{k}" for notebook in range(1, 7) for k in (1, 2, 3)]
TEST = pd.DataFrame({"smiles": ["CCO", "CC(=O)O", "c1ccccc1", "CCN"], "label": [0.0, 1.0, 2.0, 0.5]})
PLAN = {"method": ["full", "lora, r = 4"], "rates": [3, 6], "seeds": [5, 6]}

#: What the notebook hands over with the answer.
GIVEN = {
    "01.1": lambda: (Difference(0.016, (-0.008, 0.04)), 840),
    "02.1": lambda: (load_model("mini").config,),
    "02.3": lambda: (TEST, np.array([0.1, 0.0, 2.0, 0.5])),
    "04.3": lambda: (3, 4),
}


def rows_by_cluster(similarity, share):
    n_groups, group = connected_components(similarity >= 0.5)
    test = []
    for g in range(n_groups):
        rows = np.flatnonzero(group == g)
        test += list(rows) if len(test) + len(rows) <= share * len(group) else []
    return test


def masked(masks=0.8):
    def mask_tokens(tokens, mask, vocabulary):
        chosen, fate = torch.rand(len(tokens)) < 0.15, torch.rand(len(tokens))
        inputs = torch.where(chosen & (fate < masks), mask, tokens)
        swapped = chosen & (fate >= masks) & (fate < masks + 0.1)
        return torch.where(swapped, torch.randint(vocabulary, tokens.shape), inputs), torch.where(chosen, tokens, -100)

    return mask_tokens


def copied(rows):
    """Values of D and of the last of these molecules of notebook 5."""
    X, y, X_val = np.array([[0.0], [1], [2], [3]]), np.array([0.0, 1, 2, -1]), np.array([[0.5], [1.5], [2.5]])
    return permutation_values(X[rows], y[rows], X_val, X_val[:, 0], alpha=0.1, n_permutations=None).values[[3, -1]]


def walk(in_order=False, never=False):
    def walked(utility, order, tolerance):
        found, last, full = np.zeros(4), utility(()), utility((0, 1, 2, 3))
        for k, player in enumerate(order):
            if not never and abs(full - last) <= tolerance:
                break
            now = utility(tuple(order[: k + 1]))
            found[k if in_order else player], last = now - last, now
        return found

    return walked


def best_rank(place=0, percent=1):
    """(rank, rate, share) of the best rank on validation, or of another place."""
    rows = sweep()
    whole = rows["trained"].max()
    rows = rows[rows["name"].str.startswith("lora-all") & (rows["epochs"] == 4) & rows["best"]]
    row = rows.sort_values("validation").iloc[place]
    return int(row["name"].split()[-1]), row["rate"], percent * row["trained"] / whole


def ia3(of_bias=True, start=1.0, freeze=True, copies=True, size=7):
    """IA3Linear, right or with one mistake."""

    class IA3Linear(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer.requires_grad_(not freeze)
            self.l = torch.nn.Parameter(start * torch.ones(size))

        def forward(self, x):
            return self.l * self.layer(x) if of_bias else self.l * (x @ self.layer.weight.T) + self.layer.bias

        @torch.no_grad()
        def merge(self):
            plain = copy.deepcopy(self.layer) if copies else self.layer
            plain.weight *= self.l[:, None]
            plain.bias *= self.l
            return plain

    return IA3Linear


def first(loss, w):
    return torch.autograd.grad(loss(w), w, create_graph=True)[0]


def pool(v, m):
    return (v * m[..., None]).sum(1) / m.sum(1, keepdim=True)


#: Number -> a right answer, and wrong ones, each of which is told something else.
ANSWERS = {
    "01.1": lambda: (1210, 1008, 4838, 840),  # 840 * (0.024 / 0.02)²
    "01.2": lambda: (rows_by_cluster, lambda s, share: range(120), lambda s, share: [], lambda s, share: [0, 0]),
    "01.3": lambda: ([True] * 96 + [False] * 96, [True], [False] * 192),
    "02.1": lambda: (33, 32, 1024, 65),
    "02.2": lambda: (pool, lambda v, m: v.mean(1), lambda v, m: (v * m[..., None]).sum(1), lambda v, m: pool(v, m).T),
    "02.3": lambda: (lambda smiles: "O" in smiles, lambda smiles: True, 3),
    "03.1": lambda: (masked(), masked(masks=1.0), masked(masks=0.5)),
    "03.2": lambda: (1.03, -1.03, 1.486, 1.0986, 1.169),
    "03.3": lambda: ({"logD": 0.3, "logP": -2.0}, 3, {"logD": 1.2}),
    "04.1": lambda: (-2e-4, 2e-4, -0.6, -1800),
    "04.2": lambda: (
        lambda loss, w, v: torch.autograd.grad(first(loss, w) @ v, w)[0],
        lambda loss, w, v: first(loss, w) * v,
        lambda loss, w, v: first(loss, w),
        lambda loss, w, v: torch.autograd.functional.hessian(loss, w).diagonal() * v,
        lambda loss, w, v: first(loss, w) @ v,
        lambda loss, w, v: torch.zeros(6),
    ),
    "04.3": lambda: (np.ones((3, 4)), np.zeros((4, 3)), np.full((3, 4), np.nan), "mine"),
    "05.1": lambda: (copied([0, 1, 2, 3, 3]), *(copied([0, 1, 2, 3]) * f for f in (0.5, 1.0, np.array([1, 0])))),
    "05.2": lambda: (walk(), walk(never=True), walk(in_order=True), lambda utility, order, tolerance: 0.0),
    "05.3": lambda: ({10: 0.6, 50: 0.8, 336: 0.9}, {10: 0.6, 50: 1.2, 336: 0.9}, {336: 0.9}, 0.9),
    "06.1": lambda: (ia3(), ia3(of_bias=False), ia3(start=0.0), ia3(freeze=False), ia3(copies=False), ia3(size=1)),
    "06.2": lambda: (best_rank(), best_rank(1), best_rank(percent=100), (16, 3e-3, 0.1212), (16, 1e-3, 0.14), (16, 3)),
    "06.3": lambda: (pd.DataFrame(PLAN), {**PLAN, "seeds": [40, 1]}, {**PLAN, "method": ["full", "QLoRA"]}, 36),
}  # fmt: skip


def said(capsys, number: str, answer) -> str:
    check(number, answer, *GIVEN.get(number, tuple)())
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("number", NUMBERS)
def test_right_blank_missing_and_wrong_answers_and_errors_are_told_apart(capsys, number):
    asked, (right, *wrong) = EXERCISES[number], ANSWERS[number]()
    verdict = "open, and yours to judge." if asked.is_open else "right."
    assert said(capsys, number, right).startswith(f"{number}: {verdict}")
    assert said(capsys, number, ...) == f"{number}: still open: put {asked.expected} in place of the dots."
    words = [said(capsys, number, answer) for answer in (*wrong, None, lambda *given: 1 / 0)]
    assert all(word.startswith(f"{number}: not yet: ") for word in words), words
    assert len(set(words[: len(wrong)])) == len(wrong), words


def test_scores_of_the_whole_form_get_their_place(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(exercises, "display", shown.append)
    check("04.3", np.random.default_rng(0).normal(size=(840, 3324)), 840, 3324)
    assert "yours" in shown[0].index and "04.3: open" in capsys.readouterr().out


def test_an_unknown_exercise_is_named():
    with pytest.raises(DataError, match=r"no exercise '07\.1'"):
        check("07.1", 1)


def test_the_random_numbers_of_the_notebook_go_on_as_if_nothing_was_checked():
    before = torch.manual_seed(1).get_state()
    check("06.1", ...)
    assert torch.equal(torch.get_rng_state(), before)
    check("06.1", ia3())
    assert torch.equal(torch.get_rng_state(), before)
