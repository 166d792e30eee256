"""The studies whose results ``data/results`` holds: what is compared, with which settings, on which molecules.

Each is a function that lists the rows of its table. A recipe names the kinds of result that really run, so that a
change of LiSSA, say, leaves the rows alone that are computed from the tangent kernel.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from sklearn.svm import SVR

from descriptors import COMPUTED_LOGP, DESCRIBED, DESCRIPTORS, described, on_descriptors
from memory import memory
from molft_utils.cache import Kind, cached
from molft_utils.data import ecfp4_counts, random_forest, svr
from molft_utils.evaluation import BANK, Bank, auroc, lds, lds_difference, load_bank, scores, shift_agreement, sweep
from molft_utils.experiments import noisy_labels, pipeline, rules, selection
from molft_utils.experiments.grid import REPORTED
from molft_utils.files import CARRIED, file_hash
from molft_utils.influence import Kernel, KernelPath, influence_scores
from molft_utils.molformer import MolformerConfig, MolformerForMaskedLM, load_model
from molft_utils.settings import EVERY_METHOD, Settings, learning_rate_of, settings
from molft_utils.shapley import knn_values, rank_correlation
from molft_utils.training import embed, predict
from reactions import ENCODER, REACTIONS, finetuned, reaction_model
from sizes import drops, smoothness
from study import Row, Run, read

SEEDS = (0, 1, 2, 3, 4)

#: What most tables show of a trained model.
ERRORS = ("rmse", "validation_rmse", "n_train", "epochs", "seconds")


@dataclasses.dataclass(frozen=True)
class Trained:
    """Test and validation errors of a trained model."""

    start: str = "mlm"  # the encoder after masked-language modelling; "checkpoint"; "random": its architecture alone
    method: str = "full"
    selection: str = "train alone"  # what is added to or removed from the training split
    target: str = "validation"  # of influence scores; "test" is the report's choice, and a leak
    n_labels: int | None = None  # train on so many molecules of the training split
    early_stopping: bool = False  # whether validation molecules choose the epoch: not where they have chosen the data
    columns: Sequence[str] = (*ERRORS, "predictions")
    files = ("secondary.csv",)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        drawn = [RANDOM_MINI] if self.start == "random" else []
        fit = pipeline.fit_kind(self.method) if self.start == "mlm" else pipeline.REGRESSION
        return (fit, pipeline.GRADED, *rules.SELECTIONS[self.selection].kinds, *drawn)

    def row(self, cfg: Settings) -> Row:
        if self.start == "random":
            cfg = cfg.replace(checkpoint=random_mini(cfg.seed))
        train = rules.training_table(cfg, selection.secondary_table(cfg), self.selection, self.target)
        train = train if self.n_labels is None else labelled(cfg, self.n_labels)
        if self.start == "mlm":
            fit = pipeline.after_mlm(cfg, train, self.method, self.early_stopping)
        else:
            fit = pipeline.baseline(cfg, train)
        graded = pipeline.graded(fit, cfg)
        found = {**graded.row, "predictions": graded.predictions}
        return {name: found[name] for name in self.columns}


RANDOM_MINI = Kind("random-mini", 1)


def random_mini(seed: int) -> str:
    """A folder with the mini architecture and random weights: the comparison that shows what pretraining is worth."""

    def compute(folder: Path) -> dict:
        torch.manual_seed(seed)
        MolformerForMaskedLM(MolformerConfig.from_pretrained(CARRIED["mini"])).save_pretrained(folder)
        return {}

    key = {"seed": seed, "architecture": file_hash(CARRIED["mini"] / "config.json")}
    return str(cached(RANDOM_MINI, None, key, compute).folder)


def labelled(cfg: Settings, n: int | None) -> pd.DataFrame:
    """The training split, or the first n of a random order of it: smaller sets are parts of larger ones."""
    train = pipeline.tables(cfg).train
    return train if n is None else train.iloc[np.random.default_rng(cfg.seed).permutation(len(train))[:n]]


# -- what pretraining is worth ----------------------------------------------------------------------------------------

#: Variant -> profile, checkpoint, and how it starts. Random weights have the checkpoint's architecture.
TABLE1 = {
    "baseline": ("class", "mini", "checkpoint"),
    "after-mlm": ("class", "mini", "mlm"),
    "best": ("best", "mini", "checkpoint"),
    "random-weights": ("class", "mini", "random"),
    "descriptors": ("class", "mini-descriptors", "checkpoint"),
    "descriptors-best": ("best", "mini-descriptors", "checkpoint"),
}


def table1() -> Iterator[Run]:
    for seed, (variant, (profile, checkpoint, start)) in product(SEEDS, TABLE1.items()):
        cfg = settings(profile, checkpoint=checkpoint, seed=seed)
        yield Run("table1", {"variant": variant, "seed": seed}, cfg, Trained(start, early_stopping=True))
    for seed, model in product(SEEDS, ("SVR on ECFP4", "SVR on descriptors", *FROZEN)):  # equal for all seeds
        recipe = Numbers(model, 3024, columns=(*ERRORS, "predictions"))
        yield Run("table1", {"variant": model, "seed": seed}, settings("class", seed=seed), recipe)


def splits() -> Iterator[Run]:
    """Random and scaffold splits, five of each: every seed has its own split, so that an interval covers both."""
    simple = {name: Numbers(name, 3024, columns=ERRORS) for name in ("SVR on ECFP4", *MEAN)}
    recipes = {"mini": Trained("checkpoint", early_stopping=True, columns=ERRORS), **simple}
    for seed, method, model in product(SEEDS, ("random", "scaffold"), recipes):
        cfg = settings("class", seed=seed, split_method=method, split_seed=42 + seed)
        yield Run("splits", {"split": method, "model": model, "seed": seed}, cfg, recipes[model])


@dataclasses.dataclass(frozen=True)
class Losses:
    """Training and validation loss (logD²) of a row of Table 1 after one of its epochs."""

    start: str
    epoch: int

    files = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (pipeline.AFTER_MLM if self.start == "mlm" else pipeline.REGRESSION,)

    def row(self, cfg: Settings) -> Row:
        fit = pipeline.after_mlm(cfg) if self.start == "mlm" else pipeline.baseline(cfg)
        return fit.history.set_index("epoch").loc[self.epoch, ["train_loss", "validation_loss"]].to_dict()


def histories() -> Iterator[Run]:
    """Epoch by epoch, what the report's Figures 1 and 2 draw: fine-tuning without and with MLM first."""
    for run in table1():
        if run.key["variant"] in ("baseline", "after-mlm"):
            for epoch in range(1, run.settings.epochs + 1):
                yield Run("histories", {**run.key, "epoch": epoch}, run.settings, Losses(run.recipe.start, epoch))


# -- which molecules to train on, and by which method -----------------------------------------------------------------


def selected(table: str, recipes: dict[str, Trained]) -> Iterator[Run]:
    for seed, variant in product(SEEDS, recipes):
        yield Run(table, {"variant": variant, "seed": seed}, settings("class", seed=seed), recipes[variant])


def table2() -> Iterator[Run]:
    """Lines that add secondary molecules; two of them with the test labels as target, which is a leak."""
    added = [name for name, line in rules.SELECTIONS.items() if not line.among_all]
    leaks = {f"{name}, test target": Trained(selection=name, target="test") for name in ("all positive", "top 100")}
    yield from selected("table2", {name: Trained(selection=name) for name in added} | leaks)


def shapley() -> Iterator[Run]:
    removing = [name for name, line in rules.SELECTIONS.items() if line.among_all]
    yield from selected("shapley", {name: Trained(selection=name) for name in ("all", *removing)})


def grid() -> Iterator[Run]:
    every = product({**REPORTED, "oracle": "oracle"}.items(), EVERY_METHOD)
    cells = {f"{name}/{method}": Trained("mlm", method, chosen) for (name, chosen), method in every}
    yield from selected("grid", cells)


def seed_variance() -> Iterator[Run]:
    """Two lines of table 2 with thirty seeds: what one seed can tell."""
    for seed, cell in product(range(30), ("train alone", "all")):
        recipe = Trained(selection=cell, columns=("rmse", "validation_rmse", "seconds"))
        yield Run("seed_variance", {"cell": cell, "seed": seed}, settings("class", seed=seed), recipe)


# -- which learning rate for which method -----------------------------------------------------------------------------

REPORTED_RATE = 1e-7
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)

#: Name in the table -> method, the smallest of its six learning rates, and the rank of its updates (LoRA).
SWEPT = {
    "full": ("full", 1e-4, 4),
    "bitfit": ("bitfit", 1e-3, 4),
    "ia3": ("ia3", 1e-3, 4),
    "lora, r = 4": ("lora", 1e-3, 4),
    "lora-all, r = 4": ("lora-all", 3e-4, 4),
    "lora-all, r = 16": ("lora-all", 3e-4, 16),
    "lora-all, r = 64": ("lora-all", 3e-4, 64),
}
EPOCHS = (4, 20)


def learning_rates() -> Iterator[Run]:
    """All rates with one seed, and two seeds more around the best; after four epochs also the report's one rate."""
    for epochs, name in product(EPOCHS, SWEPT):
        first = RATES.index(SWEPT[name][1])
        rates = RATES[first : first + 6]
        for rate in (*rates, *([REPORTED_RATE] if epochs == 4 else [])):
            yield swept(name, epochs, rate, 0)
        for rate, seed in product(around_best(name, epochs, rates), (1, 2)):
            yield swept(name, epochs, rate, seed)


def swept(name: str, epochs: int, rate: float, seed: int) -> Run:
    key = {"name": name, "epochs": epochs, "rate": rate, "seed": seed}
    recipe = Trained(method=SWEPT[name][0], columns=("validation_rmse", "rmse", "trained", "seconds"))
    return Run("sweep", key, swept_settings(name, epochs, rate, seed), recipe)


def swept_settings(name: str, epochs: int, rate: float, seed: int) -> Settings:
    """LoRA's alpha is twice the rank, so that the scale of the update stays."""
    method, _, rank = SWEPT[name]
    changed: dict[str, Any] = {"lora_rank": rank, "lora_alpha": 2 * rank, learning_rate_of(method): rate}
    return settings("class", epochs=epochs, seed=seed, **changed).of_method(method)


def around_best(name: str, epochs: int, rates: Sequence[float]) -> Sequence[float]:
    """The rate with the smallest *validation* error of the first seed, which was run before, and its neighbours."""
    rows = read("sweep")
    rows = rows[(rows["name"] == name) & (rows["epochs"] == epochs) & (rows["seed"] == 0) & rows["rate"].isin(rates)]
    best = rates.index(float(rows.loc[rows["validation_rmse"].idxmin(), "rate"]))
    return rates[max(best - 1, 0) : best + 2]


def fair() -> Iterator[Run]:
    """Each method at its best rate on the validation split; where that of the lowest error is another, at that, too."""
    level, lowest = best_rates(1), best_rates(0)
    for seed, epochs, name in product(SEEDS, EPOCHS, SWEPT):
        variants = {f"{name}, {epochs} epochs": level[name, epochs]}
        if lowest[name, epochs] != level[name, epochs]:
            variants[f"{name}, {epochs} epochs, lowest error"] = lowest[name, epochs]
        for variant, rate in variants.items():
            cfg = swept_settings(name, epochs, float(rate), seed)
            yield Run("fair", {"variant": variant, "seed": seed}, cfg, Trained(method=SWEPT[name][0]))


def best_rates(standard_errors: float) -> pd.Series:
    """The sweep's best rates by name and epochs."""
    rows = sweep(standard_errors)
    return rows[rows["best"]].set_index(["name", "epochs"])["rate"]


# -- what labels are worth --------------------------------------------------------------------------------------------

#: Number of labels -> epochs, batch size. Few molecules make short epochs, so there are more of them. Half and twice as
#: many were tried, and the number was chosen on the validation split.
BUDGETS = {50: (20, 8), 100: (30, 8), 300: (20, 16), 1000: (24, 32), 3024: (8, 32)}


def of_labels(table: str, model: str, n: int, seed: int, recipe: Any, **changed: Any) -> Run:
    """All epochs are trained: early stopping would end a run of short epochs before it has begun."""
    epochs, batch_size = BUDGETS[n]
    cfg = settings("class", seed=seed, epochs=epochs, batch_size=batch_size, patience=epochs, **changed)
    recipe = dataclasses.replace(recipe, n_labels=n, columns=("rmse", "validation_rmse", "epochs", "seconds"))
    return Run(table, {"model": model, "labels": n, "seed": seed}, cfg, recipe)


#: Ridge regressions on the pooled vectors of an encoder that is not trained -> the encoder.
FROZEN = {f"ridge on frozen {encoder}": encoder for encoder in (*CARRIED, "rxnmapper")}

#: Models on fingerprints, descriptors or pooled vectors, given the seed.
NUMBERS: dict[str, Callable[[int], Any]] = {
    "SVR on ECFP4": lambda seed: svr(),
    "random forest on ECFP4": random_forest,
    "SVR on descriptors": lambda seed: on_descriptors(SVR(C=10.0, epsilon=0.05)),
    "ridge on descriptors": lambda seed: on_descriptors(Ridge(300.0)),
    "SVR on descriptors without logP": lambda seed: on_descriptors(SVR(C=10.0, epsilon=0.05)),
    "ridge on descriptors without logP": lambda seed: on_descriptors(Ridge(300.0)),
    **dict.fromkeys(FROZEN, lambda seed: RidgeCV(np.logspace(-2, 3, 11))),  # chosen by leave-one-out, as in notebook 02
}

#: What every model must beat.
MEAN: dict[str, Callable[[int], Any]] = {"predict the mean": lambda seed: DummyRegressor()}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """A model of ``NUMBERS`` or ``MEAN`` on so many labels; its settings were chosen on the validation split."""

    model: str
    n_labels: int
    columns: Sequence[str] = ("rmse", "validation_rmse", "epochs", "seconds")

    @property
    def files(self) -> list[str]:
        return [f"molformer-{name}/model.safetensors" for name in CARRIED if FROZEN.get(self.model) == name]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        if self.model in FROZEN:
            return (ENCODER if FROZEN[self.model] == "rxnmapper" else pipeline.FINGERPRINTS,)
        return (pipeline.FINGERPRINTS, *((DESCRIBED,) if "descriptors" in self.model else ()))

    def row(self, cfg: Settings) -> Row:
        parts, train, began = pipeline.tables(cfg), labelled(cfg, self.n_labels), time.perf_counter()
        fitted = (NUMBERS | MEAN)[self.model](cfg.seed).fit(self.numbers(train), train["label"])
        test, validation = (fitted.predict(self.numbers(part)) for part in (parts.test, parts.validation))
        found = {
            "rmse": scores(parts.test["label"], test).rmse,
            "validation_rmse": scores(parts.validation["label"], validation).rmse,
            "n_train": len(train),
            "epochs": 0,
            "seconds": time.perf_counter() - began,
            "predictions": test,
        }
        return {name: found[name] for name in self.columns}

    def numbers(self, part: pd.DataFrame) -> np.ndarray:
        """ECFP4 counts, vectors or descriptors [n, d] of a part of Lipophilicity, all of which is described once."""
        if self.model in FROZEN:
            return pooled(FROZEN[self.model])[part.index]
        if "descriptors" not in self.model:
            return ecfp4_counts(part["smiles"])
        kept = [not self.model.endswith("without logP") or name not in COMPUTED_LOGP for name in DESCRIPTORS]
        return described(pipeline.whole_table()["smiles"])[part.index][:, kept]


@lru_cache
def pooled(encoder: str) -> np.ndarray:
    """Pooled vectors [n, d] of all of Lipophilicity by an encoder that is not trained."""
    model = reaction_model() if encoder == "rxnmapper" else load_model(encoder, "encoder", canonical_smiles=True)
    return embed(model, pipeline.whole_table()["smiles"])


def labels() -> Iterator[Run]:
    for seed, n in product(SEEDS, BUDGETS):
        yield of_labels("labels", "random weights", n, seed, Trained("random", early_stopping=True))
        for checkpoint in CARRIED:
            recipe = Trained("checkpoint", early_stopping=True)
            yield of_labels("labels", checkpoint, n, seed, recipe, checkpoint=checkpoint)
        for model in NUMBERS:
            key = {"model": model, "labels": n, "seed": seed}
            yield Run("labels", key, settings("class", seed=seed), Numbers(model, n))


#: Learning rates of ``rxnmapper``: all with one seed and four epochs, then the best on validation.
REACTION_RATES = (1e-4, 3e-4, 1e-3)


@dataclasses.dataclass(frozen=True)
class TrainedReactions:
    """Test and validation errors of the fine-tuned reaction model."""

    n_labels: int | None = None  # as in Trained
    columns: Sequence[str] = (*ERRORS, "predictions")

    kinds = (REACTIONS,)
    files = ()

    def row(self, cfg: Settings) -> Row:
        found = finetuned(cfg, labelled(cfg, self.n_labels))
        return {name: found[name] for name in self.columns}


def reactions() -> Iterator[Run]:
    """The reaction model: its learning rate, its rows of Table 1, and what labels are worth to it."""
    recipe, tried = TrainedReactions(), TrainedReactions(columns=ERRORS)
    for rate in REACTION_RATES:
        yield Run("reactions", {"rate": rate, "seed": 0}, reaction_settings(rate, 4, 0), tried)
    rows = read("reactions")
    if len(rows) < len(REACTION_RATES):
        return
    best = float(rows.loc[rows["validation_rmse"].idxmin(), "rate"])
    for epochs, seed in product((4, 15), SEEDS):
        key = {"variant": f"rxnmapper, {epochs} epochs", "seed": seed}
        yield Run("table1", key, reaction_settings(best, epochs, seed), recipe)
    for seed, n in product(SEEDS, BUDGETS):
        yield of_labels("labels", "rxnmapper", n, seed, recipe, learning_rate=best)


def reaction_settings(rate: float, epochs: int, seed: int) -> Settings:
    """All epochs are trained; the best on validation is kept."""
    return settings("class", learning_rate=rate, epochs=epochs, patience=epochs, seed=seed)


def method_labels() -> Iterator[Run]:
    for seed, n, method in product((0, 1, 2), (100, 300, 1000), EVERY_METHOD):
        yield of_labels("method_labels", method, n, seed, Trained("mlm", method, early_stopping=True))


# -- do scores predict retraining, does LiSSA solve, are wrong labels found? ------------------------------------------

#: Shares of the largest eigenvalue. The best on the *validation* molecules is ``selection.KERNEL_DAMPING``.
DAMPINGS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
PATH_DAMPINGS = (0.01, 0.005, 0.002)  # along a training; the best there is ``selection.PATH_DAMPING``

SKETCH = 65_536  # buckets of the kernel's sketch; four times as many as in the notebook

#: The Hessian has no kernel: LiSSA solves for one query at a time, and some test molecules of one model must do. A
#: smaller damping meets negative eigenvalues.
N_QUERIES = 40
BY_LISSA: dict[str, Any] = dict(influence_curvature="hessian", influence_damping=0.25, influence_depth=50)
HESSIAN = f"Hessian, {N_QUERIES} molecules"

#: Added up along the training, in Adam's metric: over all its moments, or over the first and the last alone.
ALONG, FIRST_AND_LAST = "along the training", "first and last epoch"

#: The Gauss-Newton matrix on the same molecules, with the Hessian's damping and with its own.
ON_FEW = f"Gauss-Newton, {N_QUERIES} molecules"

#: The mean of the scores of all seeds' models, as Park et al. 2023 average over models.
ENSEMBLE, ENSEMBLE_ALONG = (f"{score}, {len(SEEDS)} models" for score in ("Gauss-Newton", ALONG))

#: Scores of a model of one half of the bank, the one whose number is the seed.
OF_HALF, ALONG_HALF = (f"{score}, of a half" for score in ("Gauss-Newton", ALONG))
BY_PATH = (ALONG, FIRST_AND_LAST, ENSEMBLE_ALONG, ALONG_HALF)


@dataclasses.dataclass(frozen=True)
class Predicting:
    """LDS of scores: do they predict what real retraining does to the validation and to the test molecules?"""

    score: str
    damping: float
    sketch: int = SKETCH

    files = ("secondary.csv", BANK)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        if self.score == HESSIAN:
            return (selection.INFLUENCE,)
        return (pipeline.AFTER_MLM, selection.KERNEL, *([selection.PATH] if self.score in BY_PATH else []))

    def row(self, cfg: Settings) -> Row:
        if self.score == HESSIAN:
            return hessian_row(cfg)
        seeds = SEEDS if self.score in (ENSEMBLE, ENSEMBLE_ALONG) else [cfg.seed]
        models, bank = [cfg.replace(seed=seed) for seed in seeds], load_bank("test")
        values = np.mean([self.scores(model) for model in models], axis=0)
        validation, test = np.split(values, [len(pipeline.tables(cfg).validation)])
        rows, bank = bank.some(N_QUERIES if self.score == ON_FEW else len(test))
        row = {"validation": lds(validation, load_bank("validation")).value, **on_test(test[rows], bank)}
        if self.score in BY_PATH:  # against the end of the same trainings, on the same resamples
            at_the_end = Predicting("Gauss-Newton", selection.KERNEL_DAMPING)
            ends = np.mean([at_the_end.scores(model) for model in models], axis=0)
            more, (low, high) = lds_difference(test, ends[len(validation) :], bank)
            row |= {"minus_end": more, "minus_end_low": low, "minus_end_high": high}
        return row

    def scores(self, cfg: Settings) -> np.ndarray:
        """Scores [n_queries, n_train] by one model."""
        if self.score == "random":
            return np.random.default_rng(cfg.seed).normal(size=kernel_of(cfg).cross.shape)
        if self.score == "gradient product":
            return kernel_of(cfg).gradient_products()
        kernel, damping = solvable(cfg, self.score, self.damping)
        return kernel.scores(damping)


def solvable(cfg: Settings, score: str, damping: float) -> tuple[Kernel | KernelPath, float]:
    """The kernel of a model, or those along its training, with the damping in their unit."""
    of_half = score in (OF_HALF, ALONG_HALF)
    if score in BY_PATH:
        return path_of(cfg, score == FIRST_AND_LAST, of_half), damping
    kernel = kernel_of(cfg, of_half)
    return kernel, damping * kernel.largest_eigenvalue


def hessian_row(cfg: Settings) -> Row:
    """LDS of the Hessian's scores, one query at a time."""
    fit, train = scored_model(cfg)
    rows, bank = load_bank("test").some(N_QUERIES)
    queries = pipeline.tables(cfg).test.iloc[rows]
    found = [influence_scores(fit.model, train, queries.iloc[[i]], train, cfg).scores for i in range(len(queries))]
    return {"validation": np.nan, **on_test(torch.stack(found).numpy(), bank)}


def on_test(values: np.ndarray, bank: Bank) -> Row:
    found = lds(values, bank)
    low, high = found.interval
    references = {"one_more_seed": found.one_more_seed, "ceiling": found.ceiling}
    return {"test": found.value, "low": low, "high": high, **references, "n_queries": len(found.per_query)}


def scored_model(cfg: Settings, of_half: bool = False) -> tuple[pipeline.TrainedModel, pd.DataFrame]:
    """The model whose training molecules are scored, and these: training split and secondary set, or a half of both."""
    train = selection.with_secondary(cfg, selection.secondary_table(cfg))
    train = train[load_bank().members[cfg.seed]].reset_index(drop=True) if of_half else train
    return selection.scored_fit(cfg, train), train


def kernel_of(cfg: Settings, of_half: bool = False) -> Kernel:
    """Its kernel with the queries of the bank."""
    return selection.kernel(*scored_model(cfg, of_half), queries(cfg), SKETCH)


def path_of(cfg: Settings, first_and_last: bool, of_half: bool = False) -> KernelPath:
    """The kernels along its training, with the same queries."""
    path = whole_path_of(cfg, of_half)
    return KernelPath(path.kernels[:: len(path.kernels) - 1], len(path.kernels) / 2) if first_and_last else path


@lru_cache(maxsize=1)  # a gigabyte; the rows of one seed follow each other
def whole_path_of(cfg: Settings, of_half: bool) -> KernelPath:
    return selection.kernel_path(*scored_model(cfg, of_half), queries(cfg), all_moments=True)


def queries(cfg: Settings) -> pd.DataFrame:
    """The validation molecules, then the test molecules."""
    parts = pipeline.tables(cfg)
    return pd.concat([parts.validation, parts.test], ignore_index=True)


#: A test molecule, by its row, and two training molecules like it: its butyl ether, and that as an acid.
TWINS_QUERY, TWIN, ITS_ACID = 366, "CHEMBL1089224", "CHEMBL1089518"


@dataclasses.dataclass(frozen=True)
class Shifting:
    """Shifts of predictions by single training molecules, predicted and real: the size, where an LDS asks for ranks.

    A model of all molecules gives one molecule less weight than the bank's models of half of them do; a model of one of
    these halves (``OF_HALF``, ``ALONG_HALF``) gives it the same.
    """

    score: str
    damping: float
    sketch: int = SKETCH

    files = ("secondary.csv", BANK)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (pipeline.AFTER_MLM, selection.PATH if self.score in BY_PATH else selection.KERNEL)

    def row(self, cfg: Settings) -> Row:
        of_half = self.score in (OF_HALF, ALONG_HALF)
        _, train = scored_model(cfg, of_half)
        (kernel, damping), bank = solvable(cfg, self.score, self.damping), load_bank("test")
        shifts = np.zeros((len(bank.labels), bank.members.shape[1]))  # 0 for the molecules that a half lacks
        shifts[:, bank.members[cfg.seed] if of_half else slice(None)] = kernel.attributions(damping)[
            -len(bank.labels) :
        ] * train["label"].std(ddof=0)
        found, row = shift_agreement(shifts, bank), {}
        for name in ("correlation", "slope"):
            row[name] = getattr(found, name)
            row[f"{name}_low"], row[f"{name}_high"] = getattr(found, f"{name}_interval")
        predictions = bank.predictions.mean(axis=1)[:, TWINS_QUERY]
        for name, identifier in (("twin", TWIN), ("acid", ITS_ACID)):
            i = int(np.flatnonzero(pipeline.tables(cfg).train["chembl_id"] == identifier)[0])
            had = bank.members[:, i]
            shift = shifts[TWINS_QUERY, i] or np.nan
            row |= {name: shift, f"{name}_real": predictions[had].mean() - predictions[~had].mean()}
        return row


@dataclasses.dataclass(frozen=True)
class Solving:
    """LiSSA against the kernel at LiSSA's damping, and areas under the ROC curve of what might find wrong labels."""

    sketch: int = SKETCH

    files = ("secondary.csv",)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (selection.INFLUENCE, selection.KERNEL)

    def row(self, cfg: Settings) -> Row:
        solved, kernel = selection.influence(cfg, selection.secondary_table(cfg)), kernel_of(cfg)
        direction, secondary = solved.direction, slice(-len(solved.table), None)
        exact = kernel.scores(direction.damping)[: len(pipeline.tables(cfg).validation)].mean(axis=0)[secondary]
        row: Row = {
            "damping": cfg.influence_damping,
            "largest_eigenvalue": direction.damping / cfg.influence_damping,
            "kernel_largest_eigenvalue": kernel.largest_eigenvalue,
            "rank_correlation": rank_correlation(solved.scores.numpy(), exact),
            "residual": direction.residual,
            "products": direction.n_products,
            "overhead": direction.n_overhead,
            "seconds": solved.seconds,
        }
        table, left_out = solved.table.sort_index(), kernel.leave_one_out(direction.damping)[secondary]
        suspicions = {  # a number for each secondary molecule, high where its label may be wrong
            "low_score": -table["score"],
            "low_product": -table["dot_product"],
            "high_loss": table["loss"],
            "self_influence": kernel.self_influence(direction.damping)[secondary],
            "left_out_size": np.abs(left_out),
            "left_out_too_high": -left_out,
        }
        for name, suspicion in suspicions.items():
            area, low, high = auroc(table["corrupted"], suspicion)
            row |= {f"auroc_{name}": area, f"auroc_{name}_low": low, f"auroc_{name}_high": high}
        return row


def lds_of_scores() -> Iterator[Run]:
    """Every score with every damping (0 where there is none) and seed of the scored model."""
    dampings = [("random", 0.0), ("gradient product", 0.0), *(("Gauss-Newton", damping) for damping in DAMPINGS)]
    along = [*product((ALONG, FIRST_AND_LAST), PATH_DAMPINGS)]
    ensembles = [(ENSEMBLE, selection.KERNEL_DAMPING), (ENSEMBLE_ALONG, selection.PATH_DAMPING)]
    once = [*ensembles, (HESSIAN, 0.25), (ON_FEW, 0.25), (ON_FEW, selection.KERNEL_DAMPING)]
    for seed, (score, damping) in [*product(SEEDS, (*dampings, *along)), *((0, score) for score in once)]:
        cfg = settings("class", seed=seed, **(BY_LISSA if score == HESSIAN else {}))
        recipe = Predicting(score, damping, selection.SKETCH if score in BY_PATH else SKETCH)
        yield Run("lds", {"score": score, "damping": damping, "seed": seed}, cfg, recipe)


def shifts() -> Iterator[Run]:
    at_the_end = product(("Gauss-Newton", OF_HALF), (selection.KERNEL_DAMPING,))
    scores = [*at_the_end, *product((ALONG, FIRST_AND_LAST, ALONG_HALF), PATH_DAMPINGS)]
    for seed, (score, damping) in product(SEEDS, scores):
        recipe = Shifting(score, damping, selection.SKETCH if score in BY_PATH else SKETCH)
        yield Run("shifts", {"score": score, "damping": damping, "seed": seed}, settings("class", seed=seed), recipe)


def influence() -> Iterator[Run]:
    for seed in SEEDS:
        yield Run("influence", {"seed": seed}, settings("class", seed=seed), Solving())


# -- when does selection pay? -----------------------------------------------------------------------------------------

#: Rules after which a model is trained; the others are judged by their AUROC and precision alone.
CLEAN, ALL, FOLDS, UNKNOWN_NUMBER = "clean only", "keep all", "out-of-fold residual", "TS-DShapley, number chosen"
CLEAN_AND_VALIDATION = "clean only, with validation"
TRAINED = (
    "influence",
    rules.ALONG,
    "leave-one-out residual",
    "loss",
    "TS-DShapley",
    "random",
    "oracle",
    UNKNOWN_NUMBER,
)

#: Rules that read the model's tangent kernel, its pooled vectors, or neither.
BY_KERNEL = ("influence", "gradient product", "self-influence", "leave-one-out residual", "loss")
BY_NEITHER = (ALL, CLEAN, CLEAN_AND_VALIDATION, "random", "oracle", FOLDS)
BY_VECTORS = (
    "TS-DShapley", UNKNOWN_NUMBER, "KNN-Shapley", "ridge leave-one-out", "ridge out-of-fold", "ridge out-of-bag",
    "TS-DShapley, nothing skipped", "Banzhaf", "Beta(1, 16)",
)  # fmt: skip

#: Kinds of error with the shares and the seeds that are run; without errors there is one pool for all.
POOLS: dict[str, tuple[Sequence[float], Sequence[int]]] = {
    "natural logarithm": ((0.0, 0.1, 0.2, 0.4), SEEDS),
    noisy_labels.MEASURED: ((1.0,), SEEDS),
    "permuted": ((0.2, 0.4), (0, 1, 2)),
    "lost sign": ((0.2, 0.4), (0, 1, 2)),
}

#: The control that trains on the validation molecules as well is the same for every kind and share: one will do.
NATURAL_FIFTH = ("natural logarithm", 0.2)

#: What takes long is judged for these shares and seeds alone.
COSTLY = (rules.ALONG, FOLDS, "TS-DShapley, nothing skipped", "Banzhaf", "Beta(1, 16)")
COSTLY_SHARES, COSTLY_SEEDS = (0.2, 1.0), (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Dropping:
    """Area under the curve and precision of a rule, and the test error of the model that is trained after it.

    Every rule drops as many of the pool as are wrong; one does not know how many, and asks the source model on half of
    the validation split. The clean molecules alone are trained on for as many steps as all; so are the clean and the
    validation molecules together, all the clean labels that the other rules have seen.
    """

    kind: str
    share: float
    rule: str

    files = ("logp.csv",)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The models, and what the rule reads of the one that was trained on everything; LiSSA is not among it."""
        read = {
            **dict.fromkeys(BY_NEITHER, ()), **dict.fromkeys(BY_KERNEL, (selection.KERNEL,)),
            rules.ALONG: (selection.PATH,),
        }.get(self.rule, (selection.POOLED, selection.SHAPLEY))  # fmt: skip
        return (pipeline.AFTER_MLM, pipeline.GRADED, *read)

    def row(self, cfg: Settings) -> Row:
        noisy = noisy_labels.draw_pool(cfg, self.kind, self.share)
        wrong = noisy.pool["corrupted"].to_numpy(dtype=bool)
        if self.rule == ALL:
            return after(cfg, noisy.everything)
        if self.rule == CLEAN:
            return after_as_many_steps(cfg, noisy.clean, len(noisy.everything))
        if self.rule == CLEAN_AND_VALIDATION:
            train = selection.joined(noisy.clean, pipeline.tables(cfg).validation)
            return after_as_many_steps(cfg, train, len(noisy.everything)) | {"validation_rmse": np.nan}  # it was seen
        inputs, n_dropped = rules.RuleInputs(cfg, noisy.clean, noisy.pool), int(wrong.sum())
        if self.rule == UNKNOWN_NUMBER:
            values, optimum = selection.values_and_optimum(inputs.source, cfg, len(inputs.base))
            values, n_dropped = inputs.of_candidates(values), min(optimum, len(wrong))
        else:
            values = out_of_fold(inputs) if self.rule == FOLDS else rules.rule_values(inputs, self.rule)
        kept = rules.keep_top(values, len(values) - n_dropped)
        area, low, high = auroc(wrong, -values)
        precision = wrong[~kept].mean() if n_dropped else np.nan
        found = {"auroc": area, "auroc_low": low, "auroc_high": high, "precision": precision, "n_dropped": n_dropped}
        return {**found, **(after(cfg, noisy.with_pool(kept)) if self.rule in TRAINED else {})}


def out_of_fold(inputs: rules.RuleInputs, n_folds: int = 5) -> np.ndarray:
    """Minus the squared error of each candidate by the language model that was trained on the other folds."""
    everything, cfg = inputs.everything, inputs.settings
    errors = np.empty(len(everything))
    for others, fold in KFold(n_folds, shuffle=True, random_state=cfg.split_seed).split(everything):
        fit = pipeline.after_mlm(cfg, everything.iloc[others].reset_index(drop=True), early_stopping=False)
        errors[fold] = predict(fit.model, everything["smiles"].iloc[fold]) - everything["label"].iloc[fold]
    return inputs.of_candidates(-(errors**2))


def after(cfg: Settings, train: pd.DataFrame) -> Row:
    row = pipeline.graded(pipeline.after_mlm(cfg, train[["smiles", "label"]], early_stopping=False), cfg).row
    return {name: row[name] for name in ERRORS}


def after_as_many_steps(cfg: Settings, train: pd.DataFrame, n: int) -> Row:
    """Trained on few molecules, for as many steps as on n of them."""
    return after(cfg.replace(epochs=round(cfg.epochs * n / len(train))), train)


def selecting() -> Iterator[Run]:
    """Where no label is wrong there is nothing to drop."""
    for kind, (shares, seeds) in POOLS.items():
        for seed, share in product(seeds, shares):
            every = (rules.ALONG, *BY_NEITHER, *BY_KERNEL, *BY_VECTORS) if share else (ALL, CLEAN)
            for rule in every:
                of_all_seeds = rule == rules.ALONG or seed in COSTLY_SEEDS
                elsewhere = rule == CLEAN_AND_VALIDATION and (kind, share) != NATURAL_FIFTH
                if (rule not in COSTLY or (share in COSTLY_SHARES and of_all_seeds)) and not elsewhere:
                    key = {"kind": kind, "share": share, "rule": rule, "seed": seed}
                    yield Run("selection", key, settings("class", seed=seed), Dropping(kind, share, rule))


#: Values of all molecules [n] by a source model, given its data and the settings.
VALUES: dict[str, Callable[[selection.Problem, Settings], np.ndarray]] = {
    "TS-DShapley": lambda problem, cfg: selection.sampled_values(problem, cfg).values,
    "KNN-Shapley": lambda problem, cfg: knn_values(*problem),
}


@dataclasses.dataclass(frozen=True)
class Valuing:
    """Area under the curve and precision of values for the pool of ``NATURAL_FIFTH``.

    A share of the validation labels, by which the values are made, is in natural logarithms as well.
    """

    rule: str
    validation_share: float

    files = ()
    kinds = (pipeline.AFTER_MLM, selection.POOLED, selection.SHAPLEY)

    def row(self, cfg: Settings) -> Row:
        noisy, validation = noisy_labels.draw_pool(cfg, *NATURAL_FIFTH), pipeline.tables(cfg).validation
        rng = np.random.default_rng([cfg.seed, 1])  # other molecules for each seed
        given = validation["label"].to_numpy()
        labels, _ = noisy_labels.with_errors(given, NATURAL_FIFTH[0], self.validation_share, rng)
        inputs, n = rules.RuleInputs(cfg, noisy.clean, noisy.pool), len(noisy.everything)
        data = selection.source_data(inputs.fit, noisy.everything, validation.assign(label=labels), n, cfg.split_seed)
        values = inputs.of_candidates(VALUES[self.rule](data.problem, cfg))
        wrong = noisy.pool["corrupted"].to_numpy(dtype=bool)
        area, low, high = auroc(wrong, -values)
        lowest = ~rules.keep_top(values, int((~wrong).sum()))
        return {"auroc": area, "auroc_low": low, "auroc_high": high, "precision": wrong[lowest].mean()}


def validation_labels() -> Iterator[Run]:
    """What data values need: does it matter that the labels of the validation split are clean?"""
    for seed, share, rule in product(SEEDS, (0.0, 0.2, 0.4, 1.0), VALUES):
        key = {"validation_share": share, "rule": rule, "seed": seed}
        yield Run("validation_labels", key, settings("class", seed=seed), Valuing(rule, share))


#: In the order in which they are computed: some read the sweep's rows.
STUDIES: dict[str, Callable[[], Iterator[Run]]] = {
    study.__name__: study
    for study in (
        learning_rates, table1, splits, histories, table2, shapley, grid, fair, lds_of_scores, shifts, influence,
        labels, reactions, method_labels, selecting, validation_labels, seed_variance, drops, smoothness, memory,
    )
}  # fmt: skip
