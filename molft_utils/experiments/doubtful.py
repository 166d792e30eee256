"""A few trusted measurements, and a large pool of which some labels are wrong: which of the pool to train on?

The pool is the rest of the training split with errors put in, or measured logP, of which the ionisable molecules' are
wrong as a logD. A rule gives every molecule of the pool a number, high where it should be kept, and sees no label but
those that a model may train on, and the validation split's.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold

from ..data import Split, load_logp
from ..errors import DataError
from ..influence import Kernel
from ..profiles import Settings
from ..shapley import (
    banzhaf_values,
    beta_values,
    knn_values,
    leave_one_out,
    out_of_bag,
    out_of_fold,
    removal_curve,
)
from ..training import predict
from . import pipeline, selection

#: Number of trusted molecules.
N_TRUSTED = 300

#: Kind of error -> what becomes of the labels [n] that it meets.
ERRORS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "natural logarithm": lambda labels, rng: labels * math.log(10),
    "lost sign": lambda labels, rng: -labels,
    "permuted": lambda labels, rng: rng.permutation(labels),
}

MEASURED = "measured logP"


@dataclasses.dataclass(frozen=True)
class Doubtful:
    """Trusted molecules, and a ``pool`` whose column ``corrupted`` says which labels are wrong; models never see it."""

    trusted: pd.DataFrame
    pool: pd.DataFrame

    @property
    def everything(self) -> pd.DataFrame:
        """The trusted molecules, followed by the pool."""
        return self.with_pool(np.ones(len(self.pool), dtype=bool))

    def with_pool(self, kept: np.ndarray) -> pd.DataFrame:
        """The trusted molecules, followed by those of the pool that are kept (bool [n_pool])."""
        return pd.concat([self.trusted, self.pool[kept]], ignore_index=True)[["smiles", "label"]]


def draw_pool(settings: Settings, kind: str, share: float) -> Doubtful:
    """Draw the trusted molecules and make the pool; the seed of the settings decides both.

    Parameters
    ----------
    kind
        A key of ``ERRORS``, or ``MEASURED``.
    share
        Share of the pool's labels that are wrong; the measured pool comes as it is.

    Raises
    ------
    DataError
        For an unknown kind, or a share outside [0, 1].
    """
    if kind != MEASURED and kind not in ERRORS:
        raise DataError(f"unknown kind of error {kind!r}; choose one of {', '.join([*ERRORS, MEASURED])}")
    if not 0 <= share <= 1:
        raise DataError(f"share is {share}; it must be from 0 to 1")
    rng = np.random.default_rng(settings.training.seed)
    train = pipeline.tables(settings).train
    order = rng.permutation(len(train))
    n_trusted = min(N_TRUSTED, len(train) // 3)
    trusted, rest = (train.iloc[rows].reset_index(drop=True) for rows in (order[:n_trusted], order[n_trusted:]))
    if kind == MEASURED:
        pool = load_logp().head(settings.data.limit)
        return Doubtful(trusted, pool.assign(corrupted=pool["ionisable"])[["smiles", "label", "corrupted"]])
    wrong = np.zeros(len(rest), dtype=bool)
    wrong[rng.permutation(len(rest))[: round(share * len(rest))]] = True
    labels = rest["label"].to_numpy(dtype=float).copy()
    labels[wrong] = ERRORS[kind](labels[wrong], rng)
    return Doubtful(trusted, rest.assign(label=labels, corrupted=wrong))


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What rules read: the molecules, the model that was trained on all of them, and what follows from it."""

    settings: Settings
    molecules: Doubtful

    @cached_property
    def fit(self) -> pipeline.StagedFit:
        """The model that was trained on everything, right and wrong."""
        return pipeline.after_mlm(self.settings, self.molecules.everything, early_stopping=False)

    @cached_property
    def kernel(self) -> Kernel:
        """Its tangent kernel, with the validation molecules as queries."""
        return selection.kernel(self.fit, self.molecules.everything, pipeline.tables(self.settings).validation)

    @property
    def damping(self) -> float:
        """The profile's damping."""
        return self.settings.influence.damping * self.kernel.largest_eigenvalue

    @cached_property
    def data(self) -> selection.SourceData:
        """What the source model learns from, with the validation molecules in two halves."""
        everything, parts = self.molecules.everything, pipeline.tables(self.settings)
        parts = Split(everything, parts.validation, parts.test)
        return selection.source_of(self.fit, parts, everything, self.settings.data.split_seed)

    @property
    def source(self) -> selection.Problem:
        """The same, with all validation molecules together."""
        X_val = np.vstack([self.data.X_value, self.data.X_choice])
        return self.data.X, self.data.y, X_val, np.append(self.data.y_value, self.data.y_choice)

    @property
    def sampling(self) -> Settings:
        """The settings, with chains that are no larger than there are molecules."""
        size = min(self.settings.shapley.subset, len(self.molecules.everything))
        return self.settings.replace(shapley_subset=size)

    def of_pool(self, values: np.ndarray) -> np.ndarray:
        """The pool's part of values [n] of everything."""
        return values[len(self.molecules.trusted) :]


def _semivalue(evidence: Evidence, value: Callable[..., np.ndarray], *shape: float) -> np.ndarray:
    """As many orders of as many molecules as TS-DShapley may take."""
    plan, seed = evidence.sampling.shapley, evidence.settings.training.seed
    n_orders = plan.chains * plan.permutations
    return value(
        *evidence.source, *shape, alpha=plan.alpha, n_permutations=n_orders, subset_size=plan.subset, seed=seed
    )


def language_model_out_of_fold(evidence: Evidence, n_folds: int = 5) -> np.ndarray:
    """Minus the squared error [n] by the language model that was trained on the other folds: several trainings."""
    everything = evidence.molecules.everything
    errors = np.empty(len(everything))
    for others, fold in KFold(n_folds, shuffle=True, random_state=evidence.settings.data.split_seed).split(everything):
        train = everything.iloc[others].reset_index(drop=True)
        fit = pipeline.after_mlm(evidence.settings, train, early_stopping=False)
        errors[fold] = predict(fit.model, everything["smiles"].iloc[fold]) - everything["label"].iloc[fold]
    return -(errors**2)


#: Rule -> a number for each molecule of everything, high where it should be kept.
RULES: dict[str, Callable[[Evidence], np.ndarray]] = {
    "influence": lambda e: e.kernel.scores(e.damping).mean(axis=0),
    "gradient product": lambda e: e.kernel.gradient_products().mean(axis=0),
    "self-influence": lambda e: -e.kernel.self_influence(e.damping),
    "leave-one-out residual": lambda e: -(e.kernel.leave_one_out(e.damping) ** 2),
    "loss": lambda e: -(e.kernel.train_residuals**2),
    "TS-DShapley": lambda e: selection.sampled_values(e.source, e.sampling).values,
    "TS-DShapley, nothing skipped": lambda e: selection.sampled_values(e.source, e.sampling, skip=0.0).values,
    "Banzhaf": lambda e: _semivalue(e, banzhaf_values),
    "Beta(1, 16)": lambda e: _semivalue(e, beta_values, 1, 16),
    "KNN-Shapley": lambda e: knn_values(*e.source),
    "ridge leave-one-out": lambda e: leave_one_out(*e.source, alpha=e.settings.shapley.alpha),
    "ridge out-of-fold": lambda e: out_of_fold(*e.source[:2], alpha=e.settings.shapley.alpha),
    "ridge out-of-bag": lambda e: out_of_bag(*e.source[:2], alpha=e.settings.shapley.alpha),
    "random": lambda e: np.random.default_rng(e.settings.training.seed).random(len(e.molecules.everything)),
    "oracle": lambda e: np.append(np.zeros(len(e.molecules.trusted)), -e.molecules.pool["corrupted"].to_numpy(float)),
}


def pool_values(evidence: Evidence, rule: str) -> np.ndarray:
    """What a rule says of each molecule of the pool: [n_pool], high where it should be kept.

    Raises
    ------
    DataError
        For an unknown rule.
    """
    if rule not in RULES:
        raise DataError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
    return evidence.of_pool(RULES[rule](evidence))


def values_and_number(evidence: Evidence) -> tuple[np.ndarray, int]:
    """TS-DShapley values of the pool [n_pool], and how many to drop where nobody says how many are wrong.

    One half of the validation molecules makes the values. On the other the source model is asked with how many it is
    best; trusted molecules are never dropped.
    """
    data, plan = evidence.data, evidence.settings.shapley
    problem = data.X, data.y, data.X_value, data.y_value
    values = evidence.of_pool(selection.sampled_values(problem, evidence.sampling).values)
    everyone = np.append(np.full(len(data.y) - len(values), values.max() + 1), values)
    curve = removal_curve(data.X, data.y, everyone, data.X_choice, data.y_choice, alpha=plan.alpha)
    return values, min(int(curve.attrs["optimum"]), len(values))


def kept(values: np.ndarray, n_dropped: int) -> np.ndarray:
    """Which molecules remain (bool [n]) when those with the lowest values are dropped."""
    mask = np.ones(len(values), dtype=bool)
    mask[np.argsort(values, kind="stable")[:n_dropped]] = False
    return mask
