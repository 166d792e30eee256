"""The exercises: every solution passes, every blank asks, hints come one by one, usual mistakes are told apart."""

import itertools
import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles
from sklearn.linear_model import RidgeCV

from molft_utils import DataError, load_model
from molft_utils.data import canonicalise
from molft_utils.evaluation import record_sweep
from molft_utils.files import data_file
from molft_utils.making.pages import notebooks
from molft_utils.shapley import permutation_values
from molft_utils.course import check
from molft_utils.course.exercises import checking, choosing
from molft_utils.training import embed

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


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(checking, "_misses", {})


@pytest.fixture
def notebook_names() -> dict:
    """Names that the solutions use, as small as they can be."""
    rng = np.random.default_rng(0)
    some = pd.read_csv(data_file("lipophilicity.csv")).rename(columns={"exp": "label"}).head(40)
    parts = SimpleNamespace(train=some.head(30), validation=some.tail(10), test=TEST)
    kernel = SimpleNamespace(query_residuals=rng.normal(size=3), train_residuals=rng.normal(size=4))
    source = rng.normal(size=(30, 3)), rng.normal(size=30), rng.normal(size=(10, 3)), rng.normal(size=10)

    def frozen(checkpoint):
        encoder = load_model(checkpoint, task="encoder")
        return [embed(encoder, [canonicalise(s) for s in t["smiles"]]) for t in (parts.train, parts.validation)]

    return dict(
        np=np, torch=torch, MurckoScaffoldSmiles=MurckoScaffoldSmiles, canonicalise=canonicalise, embed=embed,
        RidgeCV=RidgeCV, permutation_values=permutation_values, frozen=frozen, kernel=kernel, parts=parts,
        both=pd.read_csv(data_file("logp_and_logd.csv")), fit=SimpleNamespace(model=load_model("mini")),
        x=X, y=Y, x_val=X_VAL, y_val=Y_VAL, sweep=record_sweep(), cfg=SimpleNamespace(split_seed=0),
        train=pd.DataFrame({"smiles": list("abcd")}), similarities=lambda a, b: np.ones((3, 4)),
        molecules=SimpleNamespace(everything=parts.train),
        evidence=SimpleNamespace(source=source, of_pool=lambda values: values[-6:]),
    )  # fmt: skip


def solutions() -> dict[str, str]:
    """The code that the notebooks fold away, by exercise."""
    found = {}
    for path in notebooks():
        text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        blocks = re.findall(r"<summary>(?:Solution|A start)</summary>\s*```python\n(.*?)```", text, flags=re.DOTALL)
        found |= {f"{path.stem[:2]}.{k}": block for k, block in enumerate(blocks, start=1)}
    return found


def answer_of(code: str, names: dict):
    exec(code, names)
    return names["answer"]


def said(capsys, number: str, answer) -> str:
    check(number, answer, *GIVEN.get(number, tuple)())
    return capsys.readouterr().out.strip()


def test_there_are_eighteen_with_a_solution_each():
    assert sorted(ALL) == sorted(solutions()) == NUMBERS
    assert [number for number in NUMBERS if ALL[number].open] == [f"{n:02}.3" for n in range(1, 7)]


def test_every_check_is_in_its_notebook_and_gives_nothing_away():
    for path in notebooks():
        cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        checks = [source for source in cells if re.search(r"^check\(", source, re.MULTILINE)]
        assert [re.search(r'^check\("([\d.]+)", answer', source, re.MULTILINE)[1] for source in checks] == [
            f"{path.stem[:2]}.{k}" for k in (1, 2, 3)
        ]
        assert not any("expected" in source or "hint" in source for source in checks)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_in_the_notebook_passes(capsys, notebook_names, number):
    word = said(capsys, number, answer_of(solutions()[number], notebook_names))
    assert word.startswith(f"{number}: {'open, and yours' if ALL[number].open else 'right.'}"), word


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("blank", [..., None])
def test_a_blank_asks(capsys, number, blank):
    assert "still open" in said(capsys, number, blank)


@pytest.mark.parametrize("number", NUMBERS)
def test_hints_come_after_a_miss_one_by_one(capsys, number):
    nonsense = [object(), object(), object()] if not callable_asked(number) else [lambda *given: 1 / 0] * 3
    words = [said(capsys, number, answer) for answer in nonsense]
    assert all(word.startswith(f"{number}: not yet.") for word in words)
    first, second = ALL[number].hints
    if first in words[0]:  # where the answer has no usable form at all, this is said instead
        assert second in words[1] and second in words[2]


def callable_asked(number: str) -> bool:
    return number in ("01.2", "02.2", "02.3", "03.2", "04.2", "05.2", "06.2")


def test_a_right_answer_starts_the_hints_again(capsys):
    for expected in (0, 1):
        assert ALL["01.1"].hints[expected] in said(capsys, "01.1", 1)
    said(capsys, "01.1", 2646)
    assert ALL["01.1"].hints[0] in said(capsys, "01.1", 1)


def test_an_unknown_exercise_is_named():
    with pytest.raises(DataError, match=r"no exercise '07\.1'"):
        check("07.1", 1)


def random_rows(smiles, share):
    return list(range(int(share * len(smiles))))


def masked(choose, fate_of):
    """mask_tokens with another share, or other fates."""

    def mask_tokens(tokens, mask, vocabulary):
        chosen, fate = torch.rand(len(tokens)) < choose, torch.rand(len(tokens))
        return fate_of(tokens, mask, vocabulary, chosen, fate), torch.where(chosen, tokens, -100)

    return mask_tokens


def all_hidden(tokens, mask, vocabulary, chosen, fate):
    return torch.where(chosen, mask, tokens)


def half_hidden(tokens, mask, vocabulary, chosen, fate):
    return torch.where(chosen & (fate < 0.5), mask, tokens)


def lora(scale=True, zero_b=True, zero_a=False, freeze=True, spoil=False):
    """LoRALinear with one mistake."""

    class Wrong(torch.nn.Module):
        def __init__(self, layer, r, alpha):
            super().__init__()
            self.layer, self.scale = layer.requires_grad_(not freeze), alpha / r if scale else 1.0
            self.A = torch.nn.Parameter(torch.zeros(r, 12) if zero_a else torch.randn(r, 12))
            self.B = torch.nn.Parameter(torch.zeros(7, r) if zero_b else torch.randn(7, r))

        def forward(self, x):
            return self.layer(x) + self.scale * x @ self.A.T @ self.B.T

        @torch.no_grad()
        def merge(self):
            plain = self.layer if spoil else torch.nn.Linear(12, 7)
            plain.weight += self.scale * self.B @ self.A
            return plain

    return Wrong


def _values_of(n):
    before = permutation_values(X, Y, X_VAL, Y_VAL, alpha=0.1, n_permutations=None).values[1]
    return [before / 2] * 2 if n == 0 else [before, before] if n == 1 else [before, 0.0]


def walk(order_of=None, never=False, late=False):
    def walked(utility, order, tolerance):
        found, last, full, near = np.zeros(4), utility(()), utility((0, 1, 2, 3)), False
        for k, player in enumerate(order):
            now_near = abs(full - last) <= tolerance
            if not never and now_near and (near or not late):
                break
            near = now_near
            now = utility(tuple(order[: k + 1]))
            found[k if order_of else player], last = now - last, now
        return found

    return walked


def sweep_row(column):
    rows = record_sweep()
    rows = rows[rows["name"].str.startswith("lora-all") & (rows["epochs"] == 4) & rows["best"]].sort_values(column)
    return [(int(r["name"].split()[-1]), r["rate"], r["trained"]) for _, r in rows.iterrows()]


#: Three wrong answers for each exercise that has one right one; each is to be told something else.
WRONG = {
    "01.1": lambda: [2940, 2520, 3024],
    "01.2": lambda: [random_rows, lambda s, share: [], lambda s, share: [0, 0]],
    "02.1": lambda: [128, 832_641, 832_512],
    "02.2": lambda: [
        lambda v, m: v.mean(1), lambda v, m: (v * m[..., None]).sum(1), lambda v, m: (v * m[..., None]).mean(1),
    ],
    "03.1": lambda: [6, 32, 1.2],
    "03.2": lambda: [masked(0.15, all_hidden), masked(0.3, half_hidden), masked(1.1, all_hidden)],
    "04.1": lambda: [2e-4, -0.6, -1800],
    "04.2": lambda: [
        lambda h, v, p, damping, sigma: v + h + (p + damping * h) / sigma,
        lambda h, v, p, damping, sigma: v + h - p / sigma - damping * h,
        lambda h, v, p, damping, sigma: v + h - p / sigma,
    ],
    "05.1": lambda: [_values_of(0), _values_of(1), _values_of(2)],
    "05.2": lambda: [walk(never=True), walk(order_of=True), walk(late=True)],
    "06.1": lambda: [*sweep_row("validation")[1:], (4, 1e-3, 1)],
    "06.2": lambda: [
        lora(scale=False), lora(zero_b=False), lora(freeze=False), lora(zero_a=True), lora(), lora(spoil=True),
    ],
}  # fmt: skip


@pytest.mark.parametrize("number", WRONG)
def test_wrong_answers_are_told_apart(capsys, number):
    words = [said(capsys, number, answer) for answer in WRONG[number]()]
    assert all(word.startswith(f"{number}: not yet.") for word in words), words
    assert len(set(words)) == len(words) >= 3, words


OPEN_WRONG = {
    "01.3": lambda: [[True], [False] * 192, "neutral"],
    "02.3": lambda: [lambda s: True, lambda s: False, 3],
    "03.3": lambda: [3, {"logD": 1.2}, {}],
    "04.3": lambda: [np.zeros((3, 5)), np.full((3, 4), np.nan), "mine"],
    "05.3": lambda: [np.zeros(5), [[1.0] * 6], "mine"],
    "06.3": lambda: [
        {"selection": ["none"], "method": ["full"], "seeds": [40], "rates": [1]}, {"selection": ["none"]}, 36,
    ],
}  # fmt: skip


@pytest.mark.parametrize("number", OPEN_WRONG)
def test_an_open_exercise_refuses_what_cannot_be_judged(capsys, number):
    words = [said(capsys, number, answer) for answer in OPEN_WRONG[number]()]
    assert all(word.startswith(f"{number}: not yet.") for word in words), words


def test_the_toy_of_the_check_is_that_of_the_notebook():
    values = permutation_values(X, Y, X_VAL, Y_VAL, alpha=0.1, n_permutations=None).values
    assert np.allclose(choosing._values(X.ravel(), Y), values, atol=1e-12)
    orders = list(itertools.permutations(range(4)))
    walked = np.mean([choosing._truncated(order, -1.0) for order in orders], axis=0)
    assert np.allclose(walked, values, atol=1e-12)
