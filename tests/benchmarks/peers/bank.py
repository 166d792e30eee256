"""Scores of all pairs, graded by real retraining: molft's kernel and LiSSA, kronfluence's EK-FAC, TRAK.

All of one model, that of ``data/results/lds.csv`` with seed 0, for the same queries and training molecules. A damping
is chosen by one rule: among shares of the curvature's largest eigenvalue, the best on the validation molecules. What
is shown is the test molecules' LDS. Scores are kept in ``runs/peers/bank``, so that an interrupted run goes on.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from ...data import table_hash
from ...evaluation import lds, lds_difference, load_bank
from ...experiments import pipeline, selection
from ...files import file_hash
from ...influence import gradient, influence_kernel, lissa, molecule_loss, scores, trained_parameters
from ...inputs import fingerprint
from ...profiles import settings
from ...training import molecule_batches
from ..influence_study import DAMPINGS, SKETCH
from .ekfac import Ekfac
from .environment import FOLDER
from .rows import Row, version_of
from .trak import DIMENSIONS, Trak

SEED = 0

#: EK-FAC takes minutes for each damping; ours is best at the second.
FEWER_DAMPINGS = (0.01, 0.001)

#: What the two libraries take where nothing is said: an absolute damping, and no regularisation.
EKFAC_DEFAULT, TRAK_DEFAULT = "1e-8", "none"

#: LiSSA solves for one query at a time: test molecules at even distances, and products for each.
LISSA_QUERIES, LISSA_DEPTH = 40, 50


@dataclasses.dataclass(frozen=True)
class Problem:
    """The scored model and the hash of its weights, what it was trained on, and the queries.

    LiSSA takes ``damping`` (a share of the largest eigenvalue) and ``batch_size``.
    """

    model: PreTrainedModel
    weights: str
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame
    damping: float
    batch_size: int

    @property
    def queries(self) -> pd.DataFrame:
        """Validation molecules, then test molecules."""
        return pd.concat([self.validation, self.test], ignore_index=True)


@dataclasses.dataclass(frozen=True)
class Scored:
    """Scores [n_queries, n_train] of one method, and the CPU seconds that they took."""

    values: np.ndarray
    seconds: float


def problem() -> Problem:
    """That of the influence study."""
    cfg = settings("class", seed=SEED)
    parts, train = pipeline.tables(cfg), selection.with_secondary(cfg, selection.secondary_table(cfg))
    fit = pipeline.after_mlm(cfg, train, early_stopping=False)
    test, plan = parts.test.reset_index(drop=True), cfg.influence
    weights = file_hash(fit.folder / "model.safetensors")
    return Problem(fit.model, weights, train, parts.validation, test, plan.damping, plan.batch_size)


def compare() -> list[Row]:
    """All rows of the comparison."""
    given = problem()
    ours, largest = kernel_scores(given)
    rows = graded("molft", "gradient product", ours["product"])
    rows += default_and_best("molft", "Gauss-Newton kernel, damping", {f"{s:g}": ours[f"{s:g}"] for s in DAMPINGS})
    ekfac, trak = ekfac_scores(given, largest), trak_scores(given)
    among = f" among {EKFAC_DEFAULT}, the heuristic and {', '.join(f'{s:g}' for s in FEWER_DAMPINGS)}"
    rows += default_and_best("kronfluence", "EK-FAC, damping", ekfac, EKFAC_DEFAULT, among)
    method = f"TRAK, one model, {DIMENSIONS} projections, regularisation"
    rows += default_and_best("traker", method, trak, TRAK_DEFAULT)
    rows += [ours_minus(ours, "kronfluence", "EK-FAC", ekfac), ours_minus(ours, "traker", "TRAK", trak)]
    return rows + lissa_rows(given, ours, largest)


def ours_minus(ours: Mapping[str, Scored], library: str, method: str, theirs: Mapping[str, Scored]) -> Row:
    """LDS of the kernel minus theirs, each with its best damping on the validation molecules, paired."""
    n = len(load_bank("validation").labels)
    one = ours[best_on_validation({f"{share:g}": ours[f"{share:g}"] for share in DAMPINGS})]
    other = theirs[best_on_validation(theirs)]
    value, interval = lds_difference(one.values[n:], other.values[n:], load_bank("test"))
    note = "95 % bootstrap interval, paired over queries and subsets; each with its best damping on validation"
    return Row("LDS, ours minus theirs", library, method, value, *interval, "rank correlation", note)


def kept(name: str, given: Problem, compute: Callable[[], dict[str, Scored]]) -> dict[str, Scored]:
    """What an earlier run has computed for the same model, data and libraries, else computed now."""
    inputs: dict[str, Any] = {
        "name": name,
        "weights": given.weights,
        "train": table_hash(given.train),
        "queries": table_hash(given.queries),
    }
    inputs["versions"] = {library: version_of(library) for library in ("kronfluence", "traker", "torch")}
    path = FOLDER / "bank" / f"{name}-{fingerprint(inputs)}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, torch.Tensor] = {}
        for label, found in compute().items():
            arrays |= {label: torch.from_numpy(found.values).float(), f"{label}/seconds": torch.tensor(found.seconds)}
        save_file(arrays, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    stored = load_file(path)
    labels = [label for label in stored if not label.endswith("/seconds")]
    return {label: Scored(stored[label].double().numpy(), float(stored[f"{label}/seconds"])) for label in labels}


def kernel_scores(given: Problem) -> tuple[dict[str, Scored], float]:
    """By the kernel: gradient products and each damping; and the largest eigenvalue."""

    def compute() -> dict[str, Scored]:
        kernel, common = timed(lambda: influence_kernel(given.model, given.train, given.queries, sketch=SKETCH))
        found = {"product": Scored(kernel.gradient_products(), common)}
        for share in DAMPINGS:
            values, seconds = timed(lambda share=share: kernel.scores(share * kernel.largest_eigenvalue))
            found[f"{share:g}"] = Scored(values, common + seconds)
        return found | {"largest": Scored(np.array([kernel.largest_eigenvalue]), 0.0)}

    found = kept("kernel", given, compute)
    return found, float(found["largest"].values[0])


def lissa_rows(given: Problem, ours: Mapping[str, Scored], largest: float) -> list[Row]:
    """LiSSA for some test molecules, beside the kernel on the same ones with the same damping."""
    asked, bank = load_bank("test").some(LISSA_QUERIES)
    found = lissa_scores(given, asked, largest)
    exact = ours[f"{given.damping:g}"].values[len(given.validation) :][asked]
    case, note = f"LDS, {LISSA_QUERIES} test molecules, damping {given.damping:g}", "95 % bootstrap interval"
    rows = []
    for method, values in ((f"LiSSA, {LISSA_DEPTH} products", found.values), ("Gauss-Newton kernel", exact)):
        score = lds(values, bank)
        rows.append(Row(case, "molft", method, score.value, *score.interval, "rank correlation", note))
    value, interval = lds_difference(found.values, exact, bank)
    note += ", paired over queries and subsets"
    rows.append(Row(f"{case}: LiSSA minus kernel", "molft", "LiSSA", value, *interval, "rank correlation", note))
    per_query = 1000 * found.seconds / LISSA_QUERIES
    note = f"for {len(given.train)} scores; extrapolated from {LISSA_QUERIES} queries"
    return [*rows, cost("CPU time, 1,000 queries", "molft", f"LiSSA, {LISSA_DEPTH} products", per_query, note)]


def lissa_scores(given: Problem, asked: np.ndarray, largest: float) -> Scored:
    """Solve for each of some test molecules; a finished one is kept, too."""
    found = []
    for row in asked:
        solve = partial(lissa_of, given, given.test.iloc[[row]], largest)
        found.append(kept(f"lissa-{row}", given, solve)["lissa"])
    return Scored(np.concatenate([one.values for one in found]), sum(one.seconds for one in found))


def lissa_of(given: Problem, query: pd.DataFrame, largest: float) -> dict[str, Scored]:
    """Scores [1, n_train] for one query; the scale is known from the kernel, and not estimated again."""
    began = time.process_time()
    loss, params = molecule_loss(given.model), trained_parameters(given.model)
    batches, rows = molecule_batches(given.model, given.train, given.batch_size)
    damping = given.damping * largest
    v = gradient(loss, params, molecule_batches(given.model, query, 1)[0])
    plan: dict[str, Any] = dict(damping=damping, scale=1.5 * (largest + damping), depth=LISSA_DEPTH)
    solved = lissa(loss, params, batches, v, **plan)
    values = scores(loss, params, batches, solved.direction).numpy()[np.argsort(rows)]
    return {"lissa": Scored(values[None], time.process_time() - began)}


def ekfac_scores(given: Problem, largest: float) -> dict[str, Scored]:
    """EK-FAC with its default damping, and with one chosen by our rule, where its own heuristic one may win, too."""

    def compute() -> dict[str, Scored]:
        ekfac, common = timed(lambda: Ekfac(given.model, given.train, FOLDER / "kronfluence"))
        shares = {f"{share:g}": share * largest for share in FEWER_DAMPINGS}
        dampings = {EKFAC_DEFAULT: float(EKFAC_DEFAULT), "heuristic": None, **shares}
        validation = {label: ekfac.scores(given.validation, damping) for label, damping in dampings.items()}
        bank = load_bank("validation")
        best = max(dampings, key=lambda label: lds(validation[label], bank).value)
        found = {}
        for label in dict.fromkeys((EKFAC_DEFAULT, best)):
            values, seconds = timed(lambda label=label: ekfac.scores(given.test, dampings[label]))
            # As long for the validation molecules, one by one: the CPU time is that of all queries.
            seconds *= len(given.queries) / len(given.test)
            found[label] = Scored(np.concatenate([validation[label], values]), common + seconds)
        return found

    return kept("ekfac", given, compute)


def trak_scores(given: Problem) -> dict[str, Scored]:
    """TRAK as its library has it, without regularisation, and with shares of the largest eigenvalue."""

    def compute() -> dict[str, Scored]:
        trak, seconds = timed(lambda: Trak(given.model, given.train, given.queries, FOLDER / "trak"))
        shares = {TRAK_DEFAULT: 0.0} | {f"{share:g}": share for share in DAMPINGS}
        return {name: Scored(trak.scores(s * trak.largest_eigenvalue), seconds) for name, s in shares.items()}

    return kept("trak", given, compute)


def default_and_best(
    library: str, method: str, found: Mapping[str, Scored], default: str | None = None, among: str = ""
) -> list[Row]:
    """Rows of the library's own setting, and of the one that is best on the validation molecules if it is another."""
    best = best_on_validation(found)
    rows: list[Row] = []
    for setting in dict.fromkeys(name for name in (default, best) if name is not None):
        chosen = f", best{among} on the validation molecules" if setting == best else ""
        own = " (default)" if setting == default else ""
        rows += graded(library, f"{method} {setting}{own}", found[setting], chosen)
    return rows


def best_on_validation(found: Mapping[str, Scored]) -> str:
    """The setting with the highest LDS on the validation molecules."""
    bank = load_bank("validation")
    return max(found, key=lambda name: lds(found[name].values[: len(bank.labels)], bank).value)


def graded(library: str, method: str, found: Scored, chosen: str = "") -> list[Row]:
    """LDS on the test molecules with its interval, and the time for all pairs."""
    bank = load_bank("test")
    score = lds(found.values[-len(bank.labels) :], bank)
    note = f"95 % bootstrap interval over queries and subsets; {len(bank.labels)} queries{chosen}"
    n_queries, n_train = found.values.shape
    return [
        Row("LDS, test molecules", library, method, score.value, *score.interval, "rank correlation", note),
        cost(f"CPU time, {n_queries:,} queries", library, method, found.seconds, f"for {n_train:,} scores each"),
    ]


def cost(case: str, library: str, method: str, seconds: float, note: str) -> Row:
    """Minutes of one core, measured once."""
    minutes = seconds / 60
    return Row(case, library, method, minutes, minutes, minutes, "min", f"one thread, once; {note}")


def timed(compute: Callable) -> tuple:
    """A result, and the CPU seconds that it took."""
    began = time.process_time()
    result = compute()
    return result, time.process_time() - began
