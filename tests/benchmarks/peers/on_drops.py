"""Other libraries on the bank of drops: one training by a recipe without chance, with molecules at weight 0.

kronfluence's EK-FAC scores the trained model; bergson differentiates through the same training, as molft's unrolled
scores do. Graded in rank and in size, for the mean validation loss and for single test molecules.
"""

import numpy as np

from bergson_scores import unrolled_by_bergson
from ekfac_scores import DEFAULT, Ekfac, dampings
from molft_utils.evaluation import DROPS, Bank, grade_drops, load_bank
from molft_utils.influence import Recipe
from molft_utils.settings import settings
from problem import FOLDER, cost
from rows import Row, agreement, timed, write
from sizes import MEAN_LOSS, N_QUERIES, SINGLE_LOSSES, graded_tables, kernel_after, trained_model, unrolled

CFG, RECIPE = settings("class"), Recipe()

#: The share of dropped molecules by which a damping is chosen.
CHOOSING = 0.05


def ekfac_on_drops() -> list[Row]:
    """EK-FAC of the trained model, with the damping that is best on as many single validation molecules."""
    train, validation, test = graded_tables(CFG)
    model, largest = trained_model(RECIPE, CFG)[0], kernel_after(RECIPE, CFG)[0].largest_eigenvalue
    ekfac, common = timed(lambda: Ekfac(model, train, FOLDER / "kronfluence"))
    absolute = dampings(largest)
    of_validation = {name: ekfac.scores(validation, damping) for name, damping in absolute.items()}
    rows, bank = load_bank("validation", DROPS).some(N_QUERIES)

    def rank_correlation(damping: str) -> float:
        graded = grade_drops(of_validation[damping][rows], bank, model.config.label_std)
        return float(graded.loc[CHOOSING, "spearman"])

    best = max(absolute, key=rank_correlation)
    of_test, seconds = timed(lambda: ekfac.scores(test, absolute[best]))
    method = f"EK-FAC, damping {best}{' (default)' if best == DEFAULT else ''}"
    note = f"factors, and {len(train):,} scores each"
    return [
        *graded("kronfluence", method, MEAN_LOSS, of_validation[best].mean(axis=0, keepdims=True)),
        *graded("kronfluence", method, SINGLE_LOSSES, of_test),
        cost(f"CPU time on the bank of drops, {N_QUERIES} queries", "kronfluence", method, common + seconds, note),
    ]


def bergson_on_drops() -> list[Row]:
    """Bergson's scores for the mean validation loss, and how they differ from molft's."""
    train, validation, _ = graded_tables(CFG)
    ours, our_seconds = unrolled(RECIPE, train, [validation])
    theirs, seconds = timed(lambda: unrolled_by_bergson(RECIPE, train, validation))
    case = "CPU time on the bank of drops, 1 query"
    return [
        *graded("bergson", "unrolled", MEAN_LOSS, theirs),
        agreement("unrolled scores", "bergson", "unrolled", theirs, ours),
        cost(case, "bergson", "unrolled", seconds, "training and scores"),
        cost(case, "molft", "unrolled", our_seconds, "training and scores"),
    ]


def graded(library: str, method: str, losses: str, scores: np.ndarray) -> list[Row]:
    """Rank correlation, correlation and slope for each share of dropped molecules."""
    mean = losses == MEAN_LOSS
    bank: Bank = load_bank("validation", DROPS) if mean else load_bank("test", DROPS).some(N_QUERIES)[1]
    note = "95 % bootstrap interval over subsets" + ("" if mean else " and queries, medians over queries")
    rows = []
    for share, found in grade_drops(scores, bank, trained_model(RECIPE, CFG)[0].config.label_std, mean).iterrows():
        for figure, unit in {
            "spearman": "rank correlation",
            "pearson": "correlation",
            "slope": "real / predicted",
        }.items():
            values = found[figure], found[f"{figure}_low"], found[f"{figure}_high"]
            rows.append(Row(f"drops of {share:.0%}, {losses}: {figure}", library, method, *values, unit, note))
    return rows


if __name__ == "__main__":
    write("on_drops", [*ekfac_on_drops(), *bergson_on_drops()])
