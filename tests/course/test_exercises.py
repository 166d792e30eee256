"""Exercises: a right answer passes, hints come one by one, usual mistakes are told apart, nothing is a traceback."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from molft_utils import DataError, load_model
from molft_utils.course import check
from molft_utils.course.exercises import checking, notebooks_4_to_6
from molft_utils.evaluation import sweep
from molft_utils.shapley import permutation_values

ALL = checking.EXERCISES
NUMBERS = [f"{notebook:02}.{k}" for notebook in range(1, 7) for k in (1, 2, 3)]
TEST = pd.DataFrame({"smiles": ["CCO", "CC(=O)O", "c1ccccc1", "CCN"], "label": [0.0, 1.0, 2.0, 0.5]})
X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 1.0, 2.0, -1.0])
X_VAL, Y_VAL = np.array([[0.5], [1.5], [2.5]]), np.array([0.5, 1.5, 2.5])

#: What the notebook hands over with the answer.
GIVEN = {
    "02.1": lambda: (load_model("mini"),),
    "02.3": lambda: (TEST, np.array([0.1, 0.0, 2.0, 0.5])),
    "04.3": lambda: (3, 4),
    "05.3": lambda: (np.arange(6.0),),
}


def rows_by_scaffold(smiles, share):
    groups = {}
    for row, s in enumerate(smiles):
        groups.setdefault(MurckoScaffoldSmiles(s), []).append(row)
    test = []
    for rows in sorted(groups.values(), key=len):
        test += rows if len(test) < share * len(smiles) else []
    return test


def masked(choose=0.15, masks=0.8, swaps=0.1):
    """mask_tokens with these shares."""

    def mask_tokens(tokens, mask, vocabulary):
        chosen, fate = torch.rand(len(tokens)) < choose, torch.rand(len(tokens))
        inputs = torch.where(chosen & (fate < masks), mask, tokens)
        swapped = chosen & (fate >= masks) & (fate < masks + swaps)
        return torch.where(swapped, torch.randint(vocabulary, tokens.shape), inputs), torch.where(chosen, tokens, -100)

    return mask_tokens


def shapley_of_copies(*molecules):
    """Values of the toy's molecules followed by copies of some of them."""
    rows = [0, 1, 2, 3, *molecules]
    return permutation_values(X[rows], Y[rows], X_VAL, Y_VAL, alpha=0.1, n_permutations=None).values


def walk(in_order=False, never=False, late=False):
    def walked(utility, order, tolerance):
        found, last, full, near = np.zeros(4), utility(()), utility((0, 1, 2, 3)), False
        for k, player in enumerate(order):
            now_near = abs(full - last) <= tolerance
            if not never and now_near and (near or not late):
                break
            near = now_near
            now = utility(tuple(order[: k + 1]))
            found[k if in_order else player], last = now - last, now
        return found

    return walked


def sweep_rows():
    """(rank, rate, trained) by validation error."""
    rows = sweep()
    rows = rows[rows["name"].str.startswith("lora-all") & (rows["epochs"] == 4) & rows["best"]].sort_values(
        "validation"
    )
    return [(int(r["name"].split()[-1]), r["rate"], r["trained"]) for _, r in rows.iterrows()]


def lora(scale=True, zero_b=True, zero_a=False, freeze=True, merges=True, copies=True):
    """LoRALinear, right or with one mistake."""

    class LoRALinear(torch.nn.Module):
        def __init__(self, layer, r, alpha):
            super().__init__()
            self.layer, self.scale = layer.requires_grad_(not freeze), alpha / r if scale else 1.0
            self.A = torch.nn.Parameter(torch.zeros(r, 12) if zero_a else torch.randn(r, 12))
            self.B = torch.nn.Parameter(torch.zeros(7, r) if zero_b else torch.randn(7, r))

        def forward(self, x):
            return self.layer(x) + self.scale * x @ self.A.T @ self.B.T

        @torch.no_grad()
        def merge(self):
            plain = copy.deepcopy(self.layer) if copies else self.layer
            plain.weight += merges * self.scale * self.B @ self.A
            return plain

    return LoRALinear


RIGHT = {
    "01.1": lambda: 2646,
    "01.2": lambda: rows_by_scaffold,
    "01.3": lambda: [True] * 96 + [False] * 96,
    "02.1": lambda: 129,
    "02.2": lambda: lambda v, m: (v * m[..., None]).sum(1) / m.sum(1, keepdim=True),
    "02.3": lambda: lambda smiles: "O" in smiles,
    "03.1": lambda: 4.8,
    "03.2": masked,
    "03.3": lambda: {"logD": 0.3, "logP": -2.0},
    "04.1": lambda: -0.6 / 3000,
    "04.2": lambda: lambda h, v, p, damping, sigma: v + h - (p + damping * h) / sigma,
    "04.3": lambda: np.ones((3, 4)),
    "05.1": lambda: shapley_of_copies(1)[[1, 4]],
    "05.2": walk,
    "05.3": lambda: np.arange(6.0)[::-1],
    "06.1": lambda: sweep_rows()[0],
    "06.2": lora,
    "06.3": lambda: {"selection": ["none"] * 2, "method": ["full", "lora"], "seeds": [5, 6], "rates": [3, 2]},
}

#: Wrong answers, each of which is told something else.
WRONG = {
    "01.1": lambda: [2940, 2520, 3024],
    "01.2": lambda: [lambda s, share: range(120), lambda s, share: [], lambda s, share: [0, 0]],
    "01.3": lambda: [[True], [False] * 192],
    "02.1": lambda: [128, 832_641, 832_512],
    "02.2": lambda: [
        lambda v, m: v.mean(1), lambda v, m: (v * m[..., None]).sum(1), lambda v, m: (v * m[..., None]).mean(1),
        lambda v, m: RIGHT["02.2"]()(v, m).T, lambda v, m: None,
    ],
    "02.3": lambda: [lambda s: True, 3],
    "03.1": lambda: [6, 32, 1.2],
    "03.2": lambda: [masked(masks=1.0), masked(choose=0.3), masked(choose=1.1), masked(masks=0.5)],
    "03.3": lambda: [3, {"logD": 1.2}],
    "04.1": lambda: [2e-4, -0.6, -1800],
    "04.2": lambda: [
        lambda h, v, p, damping, sigma: v + h + (p + damping * h) / sigma,
        lambda h, v, p, damping, sigma: v + h - p / sigma - damping * h,
        lambda h, v, p, damping, sigma: v + h - p / sigma,
    ],
    "04.3": lambda: [np.zeros((4, 3)), np.full((3, 4), np.nan), "mine"],
    "05.1": lambda: [
        [shapley_of_copies()[1] / 2] * 2, [shapley_of_copies()[1]] * 2, [shapley_of_copies()[1], 0.0], [[0.8, 0.8]],
    ],
    "05.2": lambda: [walk(never=True), walk(in_order=True), walk(late=True), lambda utility, order, tolerance: 0.0],
    "05.3": lambda: [np.zeros(5), np.zeros((6, 1)), "mine"],
    "06.1": lambda: [*sweep_rows()[1:], (4, 1e-3, 1)],
    "06.2": lambda: [
        lora(scale=False), lora(zero_b=False), lora(freeze=False), lora(zero_a=True), lora(merges=False),
        lora(copies=False),
    ],
    "06.3": lambda: [{**RIGHT["06.3"](), "seeds": [40, 1]}, {"selection": ["none"]}, 36],
}  # fmt: skip


@pytest.fixture(autouse=True)
def fresh():
    for exercise in ALL.values():
        exercise.n_missed = 0


def said(capsys, number: str, answer) -> str:
    check(number, answer, *GIVEN.get(number, tuple)())
    return capsys.readouterr().out.strip()


def test_there_are_eighteen_with_two_hints_each():
    assert sorted(ALL) == NUMBERS and all(len(exercise.hints) == 2 for exercise in ALL.values())
    assert [number for number in NUMBERS if ALL[number].is_open] == [f"{n:02}.3" for n in range(1, 7)]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_right_answer_passes(capsys, number):
    word = said(capsys, number, RIGHT[number]())
    assert word.startswith(f"{number}: {'open, and yours' if ALL[number].is_open else 'right.'}"), word


@pytest.mark.parametrize("number", NUMBERS)
def test_a_blank_asks_and_none_is_told_what_was_expected(capsys, number):
    assert said(capsys, number, ...).startswith(f"{number}: still open: ")
    assert said(capsys, number, None) == f"{number}: not yet: expected {ALL[number].expected}, got None."


@pytest.mark.parametrize("number", NUMBERS)
def test_wrong_answers_are_told_apart_in_one_line(capsys, number):
    words = [said(capsys, number, answer) for answer in WRONG[number]()]
    assert all(word.startswith(f"{number}: not yet: ") and "\n" not in word for word in words), words
    assert len(set(words)) == len(words) >= 2, words


@pytest.mark.parametrize("number", NUMBERS)
def test_an_error_in_the_student_s_code_is_a_miss(capsys, number):
    for answer in (object(), lambda *given: 1 / 0):
        assert said(capsys, number, answer).startswith(f"{number}: not yet: ")


def test_hints_come_one_by_one_and_a_right_answer_starts_them_again(capsys):
    first, second = ALL["01.1"].hints
    assert [
        first in said(capsys, "01.1", 1),
        second in said(capsys, "01.1", 1),
        second in said(capsys, "01.1", 1),
    ] == 3 * [True]
    said(capsys, "01.1", 2646)
    assert first in said(capsys, "01.1", 1)


def test_scores_of_the_whole_form_get_their_place(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(notebooks_4_to_6, "display", shown.append)
    check("04.3", np.random.default_rng(0).normal(size=(840, 3324)))
    assert "yours" in shown[0].index and "04.3: open, and yours to judge" in capsys.readouterr().out
    check("04.3", np.zeros((3324, 840)))
    assert capsys.readouterr().out.startswith(
        "04.3: not yet: expected one score per pair, [test, training] = [840, 3324]"
    )


def test_an_unknown_exercise_and_a_call_that_lacks_something_are_named():
    with pytest.raises(DataError, match=r"no exercise '07\.1'"):
        check("07.1", 1)
    with pytest.raises(DataError, match="missing a required argument: 'model'"):
        check("02.1", 129)


def test_the_random_numbers_of_the_notebook_go_on_as_if_nothing_was_checked(capsys):
    states = []
    for answer in (lora(), ...):
        torch.manual_seed(1)
        check("06.2", answer)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_the_toy_of_the_check_is_that_of_the_notebook():
    orders = list(itertools.permutations(range(4)))
    walked = np.mean([notebooks_4_to_6._truncated(order, -1.0) for order in orders], axis=0)
    assert np.allclose(walked, shapley_of_copies(), atol=1e-12)
