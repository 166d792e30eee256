"""TRAK and molft's kernel with equal numbers of random projections, both of the first model, graded by retraining.

For a squared error the two are one estimator. Its library projects by a dense random matrix, which takes time
proportional to the number of projections; for the larger numbers it is given molft's count sketch instead.
"""

from collections.abc import Iterable
from functools import cache, partial
from importlib.metadata import version

from molft_utils.evaluation import lds_difference, load_bank
from molft_utils.experiments.selection import SKETCH
from molft_utils.influence import influence_kernel
from problem import FOLDER, Problem, Scored, best_on_validation, graded, kept, problem, size_of_shifts, with_setting
from rows import Row, agreement, timed, write
from studies import DAMPINGS
from trak_scores import Trak

#: 512: the default of dattri's TRAK; 2,048: of traker; the last: of molft's kernel.
PROJECTIONS = (512, 2_048, 8_192, SKETCH)

#: With so many projections, traker with its own projector takes minutes.
DENSE = PROJECTIONS[:2]

#: In the settings' names, no regularisation: the library's default.
NONE = "0"


CHOSEN = "; best on the validation molecules"


def compare() -> list[Row]:
    given, rows = problem(0), []
    for n in PROJECTIONS:
        kernel = kernel_scores(given, n)
        rows += graded("molft", f"Gauss-Newton kernel, {n:,} buckets, damping {kernel.setting}", kernel, CHOSEN)
        (sketch,) = trak_scores(given, n, True, [kernel.setting]).values()
        method = f"TRAK, {n:,} projections by count sketch, regularisation {sketch.setting}"
        rows += graded("traker", method, sketch, "; the kernel's damping")
        rows += size_of_shifts([given], "traker", method, [sketch])
        case = f"scores, {n:,} projections"
        rows.append(agreement(case, "traker", "TRAK by count sketch", sketch.values, kernel.values))
        if n in DENSE:
            rows += dense(given, n, kernel)
    return rows


def dense(given: Problem, n: int, kernel: Scored) -> list[Row]:
    """TRAK with its library's own projector, without regularisation and with the best one; the kernel minus it."""
    found = trak_scores(given, n, False, [NONE, *(f"{share:g}" for share in DAMPINGS)])
    best = found[best_on_validation(found, lambda share: found[share].values)]
    method = f"TRAK, {n:,} projections, regularisation"
    value, interval = lds_difference(kernel.on_test, best.on_test, load_bank())
    case = f"LDS, ours minus theirs, {n:,} projections"
    note = "95 % bootstrap interval, paired over queries and subsets; each with its best damping on validation"
    return [
        *graded("traker", f"{method} none (default)", found[NONE]),
        *graded("traker", f"{method} {best.setting}", best, CHOSEN),
        *size_of_shifts([given], "traker", f"{method} {best.setting}", [best]),
        Row(case, "traker", "TRAK", value, *interval, "rank correlation", note),
    ]


def kernel_scores(given: Problem, n: int) -> Scored:
    """The kernel's scores with so many buckets, and the best damping on the validation molecules."""

    def compute() -> Scored:
        kernel, seconds = timed(lambda: influence_kernel(given.fit.model, given.train, given.queries, sketch=n))
        found = {f"{share:g}": kernel.scores(share * kernel.largest_eigenvalue) for share in DAMPINGS}
        return with_setting(found, seconds=seconds)

    return kept(given, "kernel", {"sketch": n}, compute)


def trak_scores(given: Problem, n: int, sketch: bool, shares: Iterable[str]) -> dict[str, Scored]:
    """TRAK's scores with each regularisation, a share of the largest eigenvalue."""
    made = cache(lambda: timed(lambda: Trak(given.fit.model, given.train, given.queries, FOLDER / "trak", n, sketch)))

    def compute(share: str) -> Scored:
        trak, common = made()
        values, seconds = timed(lambda: trak.scores(float(share)))
        return Scored(values, share, common + seconds)

    key = {"projections": n, "sketch": sketch, "traker": version("traker")}
    return {share: kept(given, "trak", {**key, "share": share}, partial(compute, share)) for share in shares}


if __name__ == "__main__":
    write("projections", compare())
