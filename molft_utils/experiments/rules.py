"""Which molecules to train on: the one registry of rules, and the lines of Tables 2 and 3.

A *rule* gives every candidate a number, high where it should be kept (``RULES``); :func:`keep_top` keeps the n with the
highest numbers. A line of ``SELECTIONS`` is a rule, from what it chooses, and how many it keeps. A further rule is one
more function in ``RULES``.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd

from ..cache import Kind
from ..errors import DataError
from ..influence import InfluenceResult, Kernel, KernelPath
from ..settings import Settings
from ..shapley import banzhaf_values, beta_values, knn_values, leave_one_out, out_of_bag, out_of_fold
from . import pipeline, selection
from .selection import INFLUENCE, PATH, SHAPLEY, SourceData, joined, sampled_values, source_data


@dataclasses.dataclass(frozen=True)
class RuleInputs:
    """What rules read: ``candidates`` to choose from, and ``base``, which is trained on whatever they say.

    Both have ``smiles`` and ``label``; the candidates' column ``corrupted`` is for the oracle alone. The model behind
    all scores was trained on both. ``target`` is the split whose loss should fall.
    """

    settings: Settings
    base: pd.DataFrame
    candidates: pd.DataFrame
    target: str = "validation"

    @cached_property
    def everything(self) -> pd.DataFrame:
        """The base, followed by the candidates."""
        return joined(self.base, self.candidates)

    @cached_property
    def fit(self) -> pipeline.TrainedModel:
        """The model that was trained on everything, right and wrong labels."""
        return selection.scored_fit(self.settings, self.everything)

    @cached_property
    def lissa(self) -> InfluenceResult:
        """Influence on the mean loss by LiSSA; the base is the training split."""
        return selection.influence(self.settings, self.candidates, self.target)

    @cached_property
    def kernel(self) -> Kernel:
        """The tangent kernel, with the target split's molecules as queries."""
        return selection.kernel(self.fit, self.everything, getattr(pipeline.tables(self.settings), self.target))

    @cached_property
    def path(self) -> KernelPath:
        """The kernels along the training, with the same queries."""
        return selection.kernel_path(self.fit, self.everything, getattr(pipeline.tables(self.settings), self.target))

    @property
    def damping(self) -> float:
        """The kernel's damping, by the settings."""
        return self.settings.influence_damping * self.kernel.largest_eigenvalue

    @cached_property
    def source(self) -> SourceData:
        """What the source model of data values learns from."""
        validation = pipeline.tables(self.settings).validation
        return source_data(self.fit, self.everything, validation, len(self.everything), self.settings.split_seed)

    @cached_property
    def shapley(self) -> tuple[np.ndarray, int]:
        """TS-DShapley of the training split and the secondary set, and the number to drop."""
        return selection.shapley(self.settings, self.everything.iloc[len(pipeline.tables(self.settings).train) :])

    def of_candidates(self, values: np.ndarray) -> np.ndarray:
        """The candidates' part of values of everything."""
        return values[len(values) - len(self.candidates) :]


def _semivalue(inputs: RuleInputs, value: Callable[..., np.ndarray], *shape: float) -> np.ndarray:
    """As many permutations of as many molecules as TS-DShapley may take."""
    cfg, problem = inputs.settings, inputs.source.problem
    return value(
        *problem, *shape, alpha=cfg.shapley_alpha, n_permutations=cfg.shapley_chains * cfg.shapley_permutations,
        subset_size=min(cfg.shapley_subset, len(problem[1])), seed=cfg.seed,
    )  # fmt: skip


def _sampled(inputs: RuleInputs) -> np.ndarray:
    """High where ``DataFrame.sample`` draws first: the n highest are ``candidates.sample(n, random_state=seed)``."""
    n = len(inputs.candidates)
    values = np.empty(n)
    values[np.random.RandomState(inputs.settings.seed).permutation(n)] = np.arange(n, 0, -1)
    return values


ALONG = "influence along the training"

#: Rule -> a number for each molecule of everything, or for each candidate alone; high where it should be kept.
RULES: dict[str, Callable[[RuleInputs], np.ndarray]] = {
    "influence": lambda r: r.kernel.scores(r.damping).mean(axis=0),
    ALONG: lambda r: r.path.scores(r.settings.influence_damping).mean(axis=0),
    "influence by LiSSA": lambda r: r.lissa.scores.numpy(),
    "gradient product": lambda r: r.kernel.gradient_products().mean(axis=0),
    "gradient product without a sketch": lambda r: r.lissa.table["dot_product"].sort_index().to_numpy(),
    "self-influence": lambda r: -r.kernel.self_influence(r.damping),
    "leave-one-out residual": lambda r: -(r.kernel.leave_one_out(r.damping) ** 2),
    "loss": lambda r: -(r.kernel.train_residuals**2),
    "TS-DShapley": lambda r: sampled_values(r.source.problem, r.settings).values,
    "TS-DShapley, nothing skipped": lambda r: sampled_values(r.source.problem, r.settings, skip=0.0).values,
    "TS-DShapley, half of the validation split": lambda r: r.shapley[0],
    "Banzhaf": lambda r: _semivalue(r, banzhaf_values),
    "Beta(1, 16)": lambda r: _semivalue(r, beta_values, 1, 16),
    "KNN-Shapley": lambda r: knn_values(*r.source.problem),
    "ridge leave-one-out": lambda r: leave_one_out(*r.source.problem, alpha=r.settings.shapley_alpha),
    "ridge out-of-fold": lambda r: out_of_fold(r.source.X, r.source.y, alpha=r.settings.shapley_alpha),
    "ridge out-of-bag": lambda r: out_of_bag(r.source.X, r.source.y, alpha=r.settings.shapley_alpha),
    "random": lambda r: np.random.default_rng(r.settings.seed).random(len(r.everything)),
    "random sample": _sampled,
    "oracle": lambda r: -r.candidates["corrupted"].to_numpy(float),
}


def rule_values(inputs: RuleInputs, rule: str) -> np.ndarray:
    """What a rule says of each candidate: [n_candidates], high where it should be kept.

    Raises
    ------
    DataError
        For an unknown rule, or one that reads a column which the candidates lack.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    if inputs.candidates.empty:
        return np.empty(0)
    try:
        return inputs.of_candidates(RULES[rule](inputs))
    except KeyError as error:
        raise DataError(f"the rule {rule!r} reads the column {error}, which the candidates lack") from error


def keep_top(values: np.ndarray, n: int) -> np.ndarray:
    """Which molecules (bool) have the n highest values; of equal values the first."""
    kept = np.zeros(len(values), dtype=bool)
    kept[np.argsort(-values, kind="stable")[:n]] = True
    return kept


#: How many molecules a line keeps that names a number.
N_CHOSEN = 100


@dataclasses.dataclass(frozen=True)
class Selection:
    """A line of Table 2 or 3: a rule and how many it keeps, of the secondary set or of all training molecules.

    ``keep`` takes the inputs and the values; ``lowest`` keeps those with the lowest values instead. ``kinds`` are the
    kinds of results that are needed.
    """

    rule: str
    keep: Callable[[RuleInputs, np.ndarray], int]
    kinds: tuple[Kind, ...] = ()
    lowest: bool = False
    among_all: bool = False


def _hundred(inputs: RuleInputs, values: np.ndarray) -> int:
    """A hundred, or of no more than that a third: keeping all would be no selection."""
    return N_CHOSEN if len(values) > N_CHOSEN else max(1, len(values) // 3)


def _all_but_dropped(inputs: RuleInputs, values: np.ndarray) -> int:
    return len(values) - inputs.shapley[1]


_HALF = "TS-DShapley, half of the validation split"

#: Name of a line -> what it trains on.
SELECTIONS = {
    "train alone": Selection("random sample", lambda inputs, values: 0),
    "all": Selection("random sample", lambda inputs, values: len(values)),
    "all positive": Selection("influence by LiSSA", lambda inputs, values: int((values > 0).sum()), (INFLUENCE,)),
    "top 100": Selection("influence by LiSSA", _hundred, (INFLUENCE,)),
    "top 100 along the training": Selection(ALONG, _hundred, (PATH,)),
    "bottom 100": Selection("influence by LiSSA", _hundred, (INFLUENCE,), lowest=True),
    "100 random": Selection("random sample", _hundred),
    "top 100 by gradient product": Selection("gradient product without a sketch", _hundred, (INFLUENCE,)),
    "oracle": Selection("oracle", lambda inputs, values: int((values == 0).sum())),
    "ts-dshapley": Selection(_HALF, _all_but_dropped, (SHAPLEY,), among_all=True),
    "random removal": Selection("random sample", _all_but_dropped, (SHAPLEY,), lowest=True, among_all=True),
    "highest removed": Selection(_HALF, _all_but_dropped, (SHAPLEY,), lowest=True, among_all=True),
}


def training_table(settings: Settings, secondary: pd.DataFrame, name: str, target: str = "validation") -> pd.DataFrame:
    """What a line of Table 2 or 3 trains on: ``smiles, label`` of the training split and of the secondary set.

    Parameters
    ----------
    secondary
        ``smiles``, ``label``, and ``corrupted`` for the oracle.
    name
        A key of ``SELECTIONS``; what it needs is scored or valued unless it is on disk.
    target
        As in :func:`~molft_utils.experiments.selection.influence`.

    Raises
    ------
    DataError
        If the name is unknown, or the rule keeps nothing though it should keep something.
    """
    if name not in SELECTIONS:
        raise DataError(f"unknown selection {name!r}; choose one of {', '.join(SELECTIONS)}")
    line, train = SELECTIONS[name], pipeline.tables(settings).train
    inputs = RuleInputs(settings, train, secondary, target)
    if line.among_all:
        inputs = RuleInputs(settings, train.head(0), inputs.everything, target)
    values = rule_values(inputs, line.rule)
    kept = keep_top(-values if line.lowest else values, line.keep(inputs, values))
    if len(secondary) and name != "train alone" and not kept.any():
        raise DataError(f"{name!r} keeps none of {len(values)} molecules; no score is positive")
    return joined(inputs.base, inputs.candidates[kept])
