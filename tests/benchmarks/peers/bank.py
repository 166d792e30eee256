"""Scores of all pairs, graded by real retraining: molft's kernel and LiSSA, kronfluence's EK-FAC, TRAK.

All of one model, that of ``data/results/lds.csv`` with seed 0, for the same queries and training molecules. A damping
is chosen by one rule: among shares of the curvature's largest eigenvalue, the best on the validation molecules. What
is shown is the LDS on the test molecules.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from ekfac_scores import Ekfac
from molft_utils.evaluation import lds, lds_difference, load_bank
from molft_utils.experiments import pipeline, selection
from molft_utils.files import RUNS_FOLDER
from molft_utils.influence import gradient, influence_kernel, lissa, molecule_loss, scores, trained_parameters
from molft_utils.settings import Settings, settings
from molft_utils.training import molecule_batches
from rows import Row, timed, write
from trak_scores import DIMENSIONS, Trak

FOLDER = RUNS_FOLDER / "peers"

#: Shares of the largest eigenvalue; EK-FAC takes minutes for each.
DAMPINGS, FEWER_DAMPINGS = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003), (0.01, 0.001)
SKETCH = 65_536

#: What the two libraries take where nothing is said: an absolute damping, and no regularisation.
EKFAC_DEFAULT, TRAK_DEFAULT = "1e-8", "none"

#: LiSSA solves for one query at a time: test molecules at even distances, and products for each.
LISSA_QUERIES, LISSA_DEPTH = 40, 50


@dataclasses.dataclass(frozen=True)
class Problem:
    """The scored model, what it was trained on, and the queries."""

    cfg: Settings
    model: PreTrainedModel
    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame

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
    """That of the study of LDS."""
    cfg = settings("class", seed=0)
    parts, train = pipeline.tables(cfg), selection.with_secondary(cfg, selection.secondary_table(cfg))
    model = pipeline.after_mlm(cfg, train, early_stopping=False).model
    return Problem(cfg, model, train, parts.validation, parts.test.reset_index(drop=True))


def compare() -> list[Row]:
    """All rows of the comparison."""
    given = problem()
    kernel, common = timed(lambda: influence_kernel(given.model, given.train, given.queries, sketch=SKETCH))
    largest, ours = kernel.largest_eigenvalue, {}
    for share in DAMPINGS:
        values, seconds = timed(lambda share=share: kernel.scores(share * largest))
        ours[f"{share:g}"] = Scored(values, common + seconds)
    ekfac, trak = ekfac_scores(given, largest), trak_scores(given)
    among = f" among {EKFAC_DEFAULT}, the heuristic and {', '.join(f'{s:g}' for s in FEWER_DAMPINGS)}"
    regularised = f"TRAK, one model, {DIMENSIONS} projections, regularisation"
    return [
        *graded("molft", "gradient product", Scored(kernel.gradient_products(), common)),
        *default_and_best("molft", "Gauss-Newton kernel, damping", ours),
        *default_and_best("kronfluence", "EK-FAC, damping", ekfac, EKFAC_DEFAULT, among),
        *default_and_best("traker", regularised, trak, TRAK_DEFAULT),
        ours_minus(ours, "kronfluence", "EK-FAC", ekfac),
        ours_minus(ours, "traker", "TRAK", trak),
        *lissa_rows(given, ours, largest),
    ]


def ekfac_scores(given: Problem, largest: float) -> dict[str, Scored]:
    """EK-FAC with its default damping, and with the best by our rule, among which its own heuristic one may be."""
    ekfac, common = timed(lambda: Ekfac(given.model, given.train, FOLDER / "kronfluence"))
    shares = {f"{share:g}": share * largest for share in FEWER_DAMPINGS}
    dampings = {EKFAC_DEFAULT: float(EKFAC_DEFAULT), "heuristic": None, **shares}
    validation = {label: ekfac.scores(given.validation, damping) for label, damping in dampings.items()}
    best = max(dampings, key=lambda label: lds(validation[label], load_bank("validation")).value)
    found = {}
    for label in dict.fromkeys((EKFAC_DEFAULT, best)):
        values, seconds = timed(lambda label=label: ekfac.scores(given.test, dampings[label]))
        seconds *= len(given.queries) / len(given.test)  # as long per query for the validation molecules
        found[label] = Scored(np.concatenate([validation[label], values]), common + seconds)
    return found


def trak_scores(given: Problem) -> dict[str, Scored]:
    """TRAK as its library has it, without regularisation, and with shares of the largest eigenvalue."""
    trak, seconds = timed(lambda: Trak(given.model, given.train, given.queries, FOLDER / "trak"))
    shares = {TRAK_DEFAULT: 0.0} | {f"{share:g}": share for share in DAMPINGS}
    return {name: Scored(trak.scores(share * trak.largest_eigenvalue), seconds) for name, share in shares.items()}


def lissa_rows(given: Problem, ours: Mapping[str, Scored], largest: float) -> list[Row]:
    """LiSSA for some test molecules, and the kernel on the same ones with the same damping."""
    asked, bank = load_bank("test").some(LISSA_QUERIES)
    share = given.cfg.influence_damping
    found, seconds = timed(lambda: np.stack([lissa_of(given, given.test.iloc[[row]], largest) for row in asked]))
    exact = ours[f"{share:g}"].values[len(given.validation) :][asked]
    case, note = f"LDS, {LISSA_QUERIES} test molecules, damping {share:g}", "95 % bootstrap interval"
    method, rows = f"LiSSA, {LISSA_DEPTH} products", []
    for name, values in ((method, found), ("Gauss-Newton kernel", exact)):
        score = lds(values, bank)
        rows.append(Row(case, "molft", name, score.value, *score.interval, "rank correlation", note))
    value, interval = lds_difference(found, exact, bank)
    note += ", paired over queries and subsets"
    rows.append(Row(f"{case}: LiSSA minus kernel", "molft", "LiSSA", value, *interval, "rank correlation", note))
    note = f"for {len(given.train)} scores; extrapolated from {LISSA_QUERIES} queries"
    return [*rows, cost("CPU time, 1,000 queries", "molft", method, 1000 * seconds / LISSA_QUERIES, note)]


def lissa_of(given: Problem, query: pd.DataFrame, largest: float) -> np.ndarray:
    """Scores [n_train] for one query; the scale is known from the kernel, and not estimated again."""
    loss, params = molecule_loss(given.model), trained_parameters(given.model)
    batches, rows = molecule_batches(given.model, given.train, given.cfg.influence_batch_size)
    damping = given.cfg.influence_damping * largest
    v = gradient(loss, params, molecule_batches(given.model, query, 1)[0])
    plan: dict[str, Any] = dict(damping=damping, scale=1.5 * (largest + damping), depth=LISSA_DEPTH)
    solved = lissa(loss, params, batches, v, **plan)
    return scores(loss, params, batches, solved.direction).numpy()[np.argsort(rows)]


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


def ours_minus(ours: Mapping[str, Scored], library: str, method: str, theirs: Mapping[str, Scored]) -> Row:
    """LDS of the kernel minus theirs, each with its best damping on the validation molecules, paired."""
    bank = load_bank("test")
    one, other = (side[best_on_validation(side)].values[-len(bank.labels) :] for side in (ours, theirs))
    value, interval = lds_difference(one, other, bank)
    note = "95 % bootstrap interval, paired over queries and subsets; each with its best damping on validation"
    return Row("LDS, ours minus theirs", library, method, value, *interval, "rank correlation", note)


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
    return Row(case, library, method, *[seconds / 60] * 3, "min", f"one thread, once; {note}")


if __name__ == "__main__":
    write("bank", compare())
