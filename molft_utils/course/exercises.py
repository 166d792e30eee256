"""Eighteen exercises, three per notebook: ``check("04.2", answer)`` says if an answer is right, or gives a hint."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from IPython.display import display
from peft import IA3Config, get_peft_model
from torch import nn
from transformers import PretrainedConfig

from ..data import similarities
from ..errors import DataError
from ..evaluation import Difference, grade, load_bank, load_results, results
from ..files import data_file
from ..shapley import permutation_values


class Missed(Exception):
    """The answer is wrong; the text, if any, names the mistake."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """What an exercise asks for (:func:`exercise`)."""

    grade: Callable[..., str | None]
    expected: str
    hint: str
    is_open: bool


#: Number, for instance "04.2", the second exercise of notebook 4 -> exercise.
EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, expected: str, hint: str, is_open: bool = False) -> Callable[[Callable], Callable]:
    """Make the decorated function the grader of an exercise.

    It gets the answer, and what the notebook hands over with it; it returns a remark to print, or None, and raises
    :class:`Missed` for a wrong answer. ``expected`` is the form of an answer. An open exercise has no single right
    answer: the remark says what was found.
    """

    def register(grade: Callable[..., str | None]) -> Callable[..., str | None]:
        EXERCISES[number] = Exercise(grade, expected, hint, is_open)
        return grade

    return register


def check(number: str, answer: Any, *given: Any) -> None:
    """Check an answer to an exercise, and print the result; ``given``: what the notebook has computed for the check."""
    if number not in EXERCISES:
        raise DataError(f"there is no exercise {number!r}; there are {', '.join(sorted(EXERCISES))}")
    print(f"{number}: {_verdict(EXERCISES[number], answer, given)}")


def _verdict(asked: Exercise, answer: Any, given: tuple) -> str:
    """What to tell the student. Any error in the student's code is a miss, and never a traceback of ours."""
    if answer is ...:
        return f"still open: put {asked.expected} in place of the dots."
    if answer is None or (asked.expected.startswith("the function") and not callable(answer)):
        form = f"an array of shape {list(np.shape(answer))}" if np.ndim(answer) else repr(answer)
        return f"not yet: expected {asked.expected}, got {form}."
    try:
        remark = asked.grade(answer, *given)
    except Missed as miss:
        return f"not yet: {str(miss) or f'Hint: {asked.hint}'}"
    except Exception as error:
        return f"not yet: {type(error).__name__}: {error}. Expected {asked.expected}. Hint: {asked.hint}"
    return f"{'open, and yours to judge' if asked.is_open else 'right'}.{f' {remark}' if remark else ''}"


def require_close(answer: Any, expected: Any, tolerance: float, mistakes: Mapping[str, Any] | None = None) -> None:
    """Raise :class:`Missed` unless shape and values are as expected; ``mistakes``: text -> value of a usual mistake."""
    given, right = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    if given.shape != right.shape:
        raise Missed(f"expected the shape {list(right.shape)}, got {list(given.shape)}.")
    if np.allclose(given, right, rtol=0, atol=tolerance):
        return
    for text, value in (mistakes or {}).items():
        if np.shape(value) == right.shape and np.allclose(given, value, rtol=0, atol=tolerance):
            raise Missed(text)
    raise Missed


@exercise("01.1", "a number of molecules", "Half the width falls as 1 / sqrt(n). When is it 0.02?")
def enough_molecules(answer: float, gap: Difference, n: int) -> None:
    """How many test molecules show a difference of 0.02, from the interval of a paired difference on n of them."""
    half = (gap.interval[1] - gap.interval[0]) / 2
    right = n * (half / 0.02) ** 2
    mistakes = {
        "an interval narrows with the square root of the number of molecules.": n * half / 0.02,
        "take half the width of the interval: it reaches that far from its middle to each side.": 4 * right,
    }
    require_close(answer, right, 0.02 * right, mistakes)


@exercise("01.2", "the function cluster_test", "If A is like B, and B like C, all three go to one side.")
def cluster_test(answer: Callable[[np.ndarray, float], Sequence[int]]) -> str:
    """The rows of a test split of which no molecule has a similarity of 0.5 or more to any other molecule."""
    smiles = pd.read_csv(data_file("lipophilicity.csv"))["smiles"].head(600)
    similarity = similarities(smiles, smiles)
    rows = [int(row) for row in answer(similarity, 0.2)]
    if len(set(rows)) != len(rows):
        raise Missed("a row appears twice.")
    inside = np.isin(np.arange(len(smiles)), rows)
    if close := int((similarity[inside][:, ~inside] >= 0.5).sum()):
        raise Missed(f"{close} pairs of similar molecules are divided between the two sides.")
    if not 0.15 <= inside.mean() <= 0.25:
        raise Missed(f"no pair is divided, but the test split has {inside.mean():.0%} of the molecules, not 20 %.")
    return f"{inside.sum()} of {len(smiles)} molecules; none is similar to any of the others."


@exercise("01.3", "True or False for each row of `both`", "For instance ~both['ionisable'].", is_open=True)
def usable_logp(answer: Sequence[bool]) -> str:
    both = pd.read_csv(data_file("logp_and_logd.csv"))
    kept = np.asarray(answer, dtype=bool)
    if kept.shape != (len(both),):
        raise Missed(f"expected True or False for each of the {len(both)} molecules of `both`.")
    if not kept.any():
        raise Missed("you keep no molecule, so a model has nothing to learn from.")
    error = (both["logp"] - both["logd"])[kept].abs()
    return (
        f"You keep {kept.sum()} molecules; {both.loc[kept, 'ionisable'].sum()} of them are ionisable. Their logP and "
        f"logD differ by {error.median():.2f} (median) and by at most {error.max():.1f}. Could you have applied your "
        f"rule to a molecule whose logD is unknown?"
    )


@exercise("02.1", "a number of tokens", "The smallest whole number L with L * L > F * d.")
def long_enough(answer: float, config: PretrainedConfig) -> None:
    """From how many tokens on the matrix of all pairs [L, L] is larger than phi(K)^T V [F, d], in one head."""
    size = config.num_random_features * config.hidden_size // config.num_attention_heads
    mistakes = {
        "at that length L * L is not yet larger than F * d.": math.isqrt(size),
        "that is F * d. Which L has a square above it?": size,
        "d is the width of one head: hidden_size / num_attention_heads.":
            1 + math.isqrt(size * config.num_attention_heads),
    }  # fmt: skip
    require_close(answer, 1 + math.isqrt(size), 0.5, mistakes)


@exercise("02.2", "the function pool", "Multiply by mask[..., None], sum, divide by the number of true tokens.")
def pooling(answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """The mean of the token vectors [B, L, D] over the positions where the mask [B, L] is 1."""
    vectors = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < torch.tensor([[7], [4], [2]])).long()
    inside = vectors * mask[..., None]
    mistakes = {
        "padding is included: the longest molecule is right, the shorter ones are not.": vectors.mean(1),
        "padding is zero now, but the sum is still divided by the padded length.": inside.mean(1),
        "that is the sum; a long molecule would get a long vector.": inside.sum(1),
        "that is the first token alone.": vectors[:, 0],
    }
    pooled = answer(vectors.clone(), mask.clone()).detach()
    require_close(pooled, inside.sum(1) / mask.sum(1, keepdim=True), 1e-5, mistakes)


@exercise("02.3", "the function suspicious", 'For instance: lambda smiles: "+" in smiles.', is_open=True)
def worst_group(answer: Callable[[str], bool], table: pd.DataFrame, predictions: np.ndarray) -> str:
    chosen = np.array([bool(answer(s)) for s in table["smiles"]])
    if chosen.all() or not chosen.any():
        raise Missed("the rule must choose some of the molecules, but not all.")
    errors = np.asarray(predictions) - table["label"].to_numpy()
    inside, outside = (np.sqrt((errors[rows] ** 2).mean()) for rows in (chosen, ~chosen))
    return (
        f"RMSE {inside:.2f} for the {chosen.sum()} molecules that you chose, {outside:.2f} for the other "
        f"{(~chosen).sum()}. If these molecules helped you to find the rule, on which others could you confirm it?"
    )


@exercise(
    "03.1", "the function mask_tokens",
    "One random number per token chooses it (below 0.15). A second one decides: below 0.8 mask, below 0.9 randint.",
)  # fmt: skip
def masking(answer: Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Inputs and labels of masked-language modelling from tokens [n]; labels are -100 where a token was not chosen."""
    vocabulary, mask = 2362, 2361
    tokens = torch.randint(5, vocabulary - 1, (200_000,), generator=torch.Generator().manual_seed(0))
    inputs, labels = answer(tokens.clone(), mask, vocabulary)
    chosen = labels != -100
    if chosen.all():
        raise Missed("every token has a label; the label of a token that was not chosen must be -100.")
    if not torch.equal(labels[chosen], tokens[chosen]):
        raise Missed("the label of a chosen token must be the true token, whatever the input is.")
    if not torch.equal(inputs[~chosen], tokens[~chosen]):
        raise Missed("a token that was not chosen has changed.")
    share, hidden, kept = (
        float(part.float().mean()) for part in (chosen, inputs[chosen] == mask, inputs[chosen] == tokens[chosen])
    )
    if abs(share - 0.15) > 0.01:
        raise Missed(f"{share:.1%} of the tokens are chosen; it should be 15 %.")
    if hidden > 0.99:
        raise Missed("all chosen tokens become <mask>; a tenth should be random and a tenth should stay.")
    if abs(hidden - 0.8) > 0.02 or abs(kept - 0.1) > 0.02:
        raise Missed(f"{hidden:.0%} of the chosen tokens are masked and {kept:.0%} stay, not 80 % and 10 %.")


@exercise("03.2", "a loss in nats", "The mean of -ln p over the ten tokens: five have p = 0.5, three 0.3, two 0.2.")
def loss_by_frequency(answer: float) -> None:
    """The cross entropy of a model that gives each token its frequency: C five times in ten, c three times, O twice."""
    p = np.array([0.5, 0.3, 0.2])
    loss = -(p * np.log(p)).sum()
    mistakes = {
        "a cross entropy is -log p, so it is positive.": -loss,
        "that is in bits; take the natural logarithm.": loss / np.log(2),
        "that is the loss of a model that gives all three tokens the same probability.": np.log(3),
        "that is the mean over the three kinds; C must count five times.": -np.log(p).mean(),
    }
    require_close(answer, loss, 0.006, mistakes)


@exercise(
    "03.3", "a dictionary: name of a property -> R² on the validation molecules", is_open=True,
    hint="Ridge regression on embed(encoder, smiles). rdkit.Chem.Descriptors has more properties, such as MolLogP.",
)  # fmt: skip
def frozen_knowledge(answer: Mapping[str, float]) -> str:
    if max(answer.values()) > 1:
        raise Missed("an R² cannot be above 1: it is 1 - sum of squared errors / sum of squared deviations.")
    found = ", ".join(f"{name} {value:.2f}" for name, value in sorted(answer.items(), key=lambda pair: -pair[1]))
    return f"R²: {found}. A high one shows that a linear model finds the property; a low one does not show its absence."


@exercise("04.1", "a change of the loss", "Having it changes the loss by -score / n; leaving it out does the opposite.")
def left_out(answer: float) -> None:
    """How the query's loss changes when one molecule of 3,000, with score -0.6, is left out."""
    mistakes = {
        "the size is right. A negative score means that having it raises the loss; here it is left out.": 2e-4,
        "the score is for the mean loss over 3,000 molecules, and this is one of them.": -0.6,
        "divide by n, do not multiply: the score is for the mean loss over n molecules.": -0.6 * 3000,
    }
    require_close(answer, -0.6 / 3000, 1e-6, mistakes)


@exercise("04.2", "the function hvp", "g = torch.autograd.grad(loss(w), w, create_graph=True)[0]; then that of g @ v.")
def hessian_product(answer: Callable[..., torch.Tensor]) -> None:
    """H v of a loss with its Hessian's negative eigenvalues, against the explicit matrix."""
    x, w, v = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(w: torch.Tensor) -> torch.Tensor:
        return (torch.sin(w * x).sum() - 1) ** 2 + (w**4).sum() / 10

    H, g = torch.autograd.functional.hessian(loss, w), torch.autograd.functional.jacobian(loss, w)
    mistakes = {
        "that is the gradient times v, element by element.": g * v,
        "that is the gradient. Differentiate it once more, along v.": g,
        "that is the diagonal of H times v. All entries of a row of H count.": H.diagonal() * v,
    }
    product = answer(loss, w.clone().requires_grad_(), v)
    if isinstance(product, tuple):
        raise Missed("torch.autograd.grad returns a tuple: take its first entry, [0].")
    require_close(product.detach(), H @ v, 1e-8, mistakes)


@exercise("04.3", "an array of scores [test, training molecules]", "See kernel.gradient_products().", is_open=True)
def own_score(answer: np.ndarray, n_queries: int, n_train: int) -> str:
    """Scores of your own, graded by retrained models (:func:`~molft_utils.evaluation.grade`)."""
    bank = load_bank()
    whole = len(bank.labels), bank.members.shape[1]
    values = np.asarray(answer, dtype=float)
    if values.shape != (n_queries, n_train):
        raise Missed(f"expected one score per pair, [{n_queries} test, {n_train} training], got {list(values.shape)}.")
    if not np.isfinite(values).all():
        raise Missed("some scores are not finite.")
    if values.shape != whole:
        return f"The form is right. The leaderboard needs all molecules: {list(whole)}."
    table = grade(values)
    display(table.round(3))
    if table.loc["yours", "high"] < 0:
        raise Missed("your ranking is the wrong way round: a positive score must mean that the molecule helps.")
    return "Your place is in the table."


@exercise("05.1", "two values, that of D and that of its copy", "permutation_values takes five rows as well as four.")
def copy_of_d(answer: Sequence[float]) -> None:
    """Data values in the toy of notebook 5, four molecules A to D on a line, before and after D is copied."""
    x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 1.0, 2.0, -1.0])  # D has a wrong label
    x_val = np.array([[0.5], [1.5], [2.5]])
    before, doubled = (
        permutation_values(x[rows], y[rows], x_val, x_val[:, 0], alpha=0.1, n_permutations=None).values
        for rows in ([0, 1, 2, 3], [0, 1, 2, 3, 3])
    )
    mistakes = {
        "equal, yes, but not half of the old value each: together, two copies do more harm than one.":
            [before[3] / 2] * 2,
        "that is the old value twice: a copy that comes second finds the harm done already.": [before[3]] * 2,
        "symmetry: the two values must be equal.": [before[3], 0.0],
    }  # fmt: skip
    require_close(answer, doubled[[3, 4]], 0.01, mistakes)


@exercise("05.2", "the function walk", "Stop before a step once |U(all) - U(those who have joined)| <= tolerance.")
def truncated_walk(answer: Callable[..., np.ndarray]) -> None:
    """All 24 walks, with the utility of each of the 16 sets drawn at random."""
    drawn = np.random.default_rng(0).normal(size=16)

    def utility(players: Sequence[int]) -> float:
        return float(drawn[sum(2**player for player in set(players))])

    def walk(order: Sequence[int], tolerance: float) -> np.ndarray:
        contributions = np.zeros(4)
        for k, player in enumerate(order):
            if abs(utility(range(4)) - utility(order[:k])) <= tolerance:
                break
            contributions[player] = utility(order[: k + 1]) - utility(order[:k])
        return contributions

    orders = list(itertools.permutations(range(4)))
    for tolerance in (1.0, 0.2):
        expected = np.array([walk(order, tolerance) for order in orders])
        found = np.array([np.asarray(answer(utility, order, tolerance), dtype=float) for order in orders])
        mistakes = {
            "it never stops: check the difference to U(all) before each step.": [walk(order, -1.0) for order in orders],
            "the contributions are right, but in the order of joining: put each at its player's index.":
                [row[list(order)] for order, row in zip(orders, expected, strict=True)],
        }  # fmt: skip
        require_close(found, expected, 1e-9, mistakes)


@exercise(
    "05.3", "a dictionary: number of clean validation molecules -> AUROC", is_open=True,
    hint="With some rows of the validation split: found = knn_values(X, y, X_val[rows], y_val[rows])[-len(wrong) :].",
)  # fmt: skip
def enough_clean_labels(answer: Mapping[int, float]) -> str:
    if not all(0 <= area <= 1 for area in answer.values()):
        raise Missed("an AUROC lies between 0 and 1.")
    if len(answer) < 3:
        raise Missed("try three numbers of molecules or more.")
    found = ", ".join(f"{n} molecules {area:.2f}" for n, area in sorted(answer.items()))
    return f"AUROC: {found}. How much does it change if you draw other molecules, as many as before?"


@exercise(
    "06.1", "the function or class IA3Linear",
    "l = torch.nn.Parameter(torch.ones(layer.out_features)); forward returns l * layer(x).",
)  # fmt: skip
def ia3_linear(answer: Callable[[nn.Linear], Any]) -> str:
    """An (IA)^3 layer that is equal to the library's, before and after merging."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        layer, x = nn.Linear(12, 7), torch.randn(5, 12)
        ours = answer(copy.deepcopy(layer))
        trains = {name for name, p in ours.named_parameters() if p.requires_grad}
        if trains != {"l"}:
            raise Missed(f"only l should train; in yours it is {', '.join(sorted(trains)) or 'nothing'}.")
        if ours.l.shape != (7,):
            raise Missed(f"l needs one factor per output of the layer, [7]; yours is {list(ours.l.shape)}.")
        if not torch.allclose(ours(x), layer(x), atol=1e-5):
            raise Missed("at the start the output must be that of the layer: l = 1.")
        theirs = get_peft_model(
            nn.Sequential(copy.deepcopy(layer)), IA3Config(target_modules=["0"], feedforward_modules=[])
        )
        factors = next(p for name, p in theirs.named_parameters() if "ia3_l" in name)
        factors.normal_()
        ours.l.copy_(factors.flatten())
        expected = theirs(x)
        mistakes = {"the bias is not scaled: l * (W x + b).": x @ (factors * layer.weight).T + layer.bias}
        require_close(ours(x), expected, 1e-5, mistakes)
        if not torch.allclose(ours.merge()(x), expected, atol=1e-5):
            raise Missed("forward is right; merge() is not: l[:, None] * W, and l * b.")
        if not torch.allclose(ours(x), expected, atol=1e-5):
            raise Missed("merge() has changed the layer itself, so l counts twice: copy the layer first.")
    return "Equal to peft's, both separate from the weights and merged into them."


@exercise("06.2", "three numbers: (rank, rate, share)", "Compare 'validation' in the rows with sweep['best'].")
def best_rank(answer: Sequence[float]) -> None:
    sweep = results.sweep()
    rows = sweep[sweep["name"].str.startswith("lora-all") & (sweep["epochs"] == 4) & sweep["best"]]
    rows = rows.assign(rank=rows["name"].str.extract(r"r = (\d+)")[0].astype(int))
    right, on_test = (rows.loc[rows[split].idxmin()] for split in ("validation", "test"))
    right_share = right["trained"] / sweep["trained"].max()  # full fine-tuning trains everything
    rank, rate, share = (float(number) for number in answer)
    if rank != right["rank"]:
        if rank == on_test["rank"]:
            raise Missed("that rank is best on the *test* split, which must choose nothing.")
        raise Missed(f"rank {rank:.0f} is not the best on validation.")
    if not math.isclose(rate, right["rate"], rel_tol=0.05):
        raise Missed("the rank is right; its rate is the one where sweep['best'] is True.")
    if share > 1:
        raise Missed("the share is a percentage: divide it by 100.")
    if abs(share - right_share) > 0.005:
        raise Missed("rank and rate are right; the share is of the numbers that full fine-tuning trains.")


@exercise("06.3", "a table with the columns method, rates, seeds", "One row per method.", is_open=True)
def plan_of_36(answer: Any) -> str:
    plan, known = pd.DataFrame(answer), list(results.sweep()["name"].unique())
    if unknown := sorted(set(plan["method"]) - set(known)):
        raise Missed(f"there is no method {unknown[0]!r}; choose from {'; '.join(known)}.")
    if (plan[["rates", "seeds"]] < 1).to_numpy().any():
        raise Missed("each method needs at least one rate and one seed.")
    n_models = int((plan["rates"] + plan["seeds"] - 1).sum())
    if n_models > 36:
        raise Missed(f"that is {n_models} models; you have 36.")
    sd = load_results("fair").groupby("variant")["rmse"].std().median()
    reach = 2 * sd * (2 / plan["seeds"]) ** 0.5
    found = "; ".join(f"{m} {r:.3f}" for m, r in zip(plan["method"], reach, strict=True))
    return (
        f"{n_models} models. Between two methods with so many seeds, a difference of about this shows (logD): {found}."
    )
