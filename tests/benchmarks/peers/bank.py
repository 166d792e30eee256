"""Scores graded by real retraining: molft's kernel, at the end and along a training, and EK-FAC, of five models.

The models are those of ``data/results/lds.csv``. A damping is chosen by one rule: the best on the validation molecules
of the first model, and then taken for all. What is shown is the LDS on the test molecules, and whether the strongest
shift of each test molecule's prediction has the right size.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version

from ekfac_scores import DEFAULT, Ekfac, dampings
from molft_utils.evaluation import lds, lds_difference, load_bank
from problem import (
    FOLDER,
    Problem,
    Scored,
    best_on_validation,
    cost,
    kept,
    mean_of_models,
    problem,
    size_of_shifts,
    with_setting,
)  # fmt: skip
from rows import Row, timed, write
from studies import DAMPINGS, PATH_DAMPINGS, SEEDS, kernel_of, path_of

OTHER = "0.001"  # the kernel's damping


def compare() -> list[Row]:
    models = [problem(seed) for seed in SEEDS]
    kernel, along, ekfac = (of_each(models, scores) for scores in (kernel_scores, path_scores, ekfac_scores))
    product = [Scored(kernel_of(given.cfg).gradient_products(), "none") for given in models]
    own = " (default)" if ekfac[0].setting == DEFAULT else ""
    rows = [
        *over_five(models, "molft", "gradient product", product, sizes=False),
        *over_five(models, "molft", f"Gauss-Newton kernel, damping {kernel[0].setting}", kernel),
        # Along a training each moment has residuals of its own: the sizes are those of data/results/shifts.csv.
        *over_five(models, "molft", f"along the training, damping {along[0].setting}", along, sizes=False),
        *over_five(models, "kronfluence", f"EK-FAC, damping {ekfac[0].setting}{own}", ekfac),
        # In size it may need another damping than in rank: the first model with the kernel's.
        *size_of_shifts(models[:1], "kronfluence", f"EK-FAC, damping {OTHER}", [ekfac_scores(models[0], OTHER)]),
    ]
    bank = load_bank()
    for case, ours in (("LDS, ours minus theirs", kernel), ("LDS, along the training minus theirs", along)):
        differences = [lds_difference(a.on_test, b.on_test, bank) for a, b in zip(ours, ekfac, strict=True)]
        rows.append(mean_of_models(case, "kronfluence", "EK-FAC", differences))
    return rows


def of_each(models: Sequence[Problem], scores: Callable[..., Scored]) -> list[Scored]:
    """The scores of each model, with the damping that the first one chooses."""
    first = scores(models[0])
    return [first, *(scores(given, first.setting) for given in models[1:])]


def kernel_scores(given: Problem, damping: str | None = None) -> Scored:
    """The kernel's scores with a damping, a share of the largest eigenvalue; None chooses it."""
    kernel = kernel_of(given.cfg)
    return with_setting({f"{x:g}": kernel.scores(x * kernel.largest_eigenvalue) for x in DAMPINGS}, damping)


def path_scores(given: Problem, damping: str | None = None) -> Scored:
    """The same, added up along the training."""
    path = path_of(given.cfg, first_and_last=False)
    return with_setting({f"{share:g}": path.scores(share) for share in PATH_DAMPINGS}, damping)


def ekfac_scores(given: Problem, damping: str | None = None) -> Scored:
    """EK-FAC's scores with the default damping, the heuristic one or a share; None chooses it."""

    def compute() -> Scored:
        largest = kernel_of(given.cfg).largest_eigenvalue
        ekfac, common = timed(lambda: Ekfac(given.fit.model, given.train, FOLDER / "kronfluence"))
        absolute = dampings(largest)
        chosen = damping or best_on_validation(absolute, lambda name: ekfac.scores(given.validation, absolute[name]))
        values, seconds = timed(lambda: ekfac.scores(given.queries, absolute[chosen]))
        return Scored(values, chosen, common + seconds)

    return kept(given, "ekfac", {"damping": damping, "kronfluence": version("kronfluence")}, compute)


def over_five(
    models: Sequence[Problem], library: str, method: str, found: Sequence[Scored], sizes: bool = True
) -> list[Row]:
    """LDS, and correlation and slope of the strongest shifts: means over the models; the LDS of each as well."""
    bank, rows = load_bank(), []
    grades = [lds(scored.on_test, bank) for scored in found]
    for given, grade in zip(models, grades, strict=True):
        note = "95 % bootstrap interval over queries and subsets"
        case = f"LDS, test molecules, model {given.cfg.seed}"
        rows.append(Row(case, library, method, grade.value, *grade.interval, "rank correlation", note))
    graded = [(grade.value, grade.interval) for grade in grades]
    rows.append(mean_of_models("LDS, test molecules", library, method, graded))
    if seconds := [scored.seconds for scored in found if scored.seconds]:
        n_queries, n_train = found[0].values.shape
        mean = sum(seconds) / len(seconds)
        rows.append(cost(f"CPU time, {n_queries:,} queries", library, method, mean, f"for {n_train:,} scores each"))
    return [*rows, *size_of_shifts(models, library, method, found)] if sizes else rows


if __name__ == "__main__":
    write("bank", compare())
