"""The figure of the benchmark against other libraries: ``data/results/peers.csv``."""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from molft_utils.course.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION, look, show

#: Library -> colour; ours is dark.
_LIBRARIES = {
    "molft": BLUE, "kronfluence": VERMILLION, "traker": ORANGE, "pydvl": PURPLE, "dattri": GREEN, "transformers": SKY,
    "scikit-learn": GREY, "torch": GREY,
}  # fmt: skip


@look()
def peers(table: pd.DataFrame, name: str) -> None:
    """Four panels: LDS by real retraining, time against ours, the solvers' error, growth with molecules.

    Parameters
    ----------
    table
        The rows of ``peers.csv``.
    """
    figure = Figure(figsize=(15.5, 11.5))
    (lds, ratios), (errors, growth) = figure.subplots(2, 2)
    best = _lds(lds, table[table["case"] == "LDS, test molecules"])
    _bars(ratios, table[table["unit"].str.startswith("times as long", na=False)], _what_takes_how_long)
    ratios.axvline(1, color="black", lw=1)
    ratios.set(xscale="log", xlabel="CPU time / that of molft (log scale)", title="How much longer do others take?")
    _bars(errors, table[table["unit"] == "relative error"], _whose_error)
    errors.set(xscale="log", xlabel="relative error of the solution (log scale)", title="After as many products")
    _growth(growth, table[(table["comparison"] == "growth") & table["case"].str.endswith("by molecules")])
    show(figure, name, f"Benchmark against other libraries. Best LDS: {best}.")


def _lds(axes: Axes, rows: pd.DataFrame) -> str:
    rows = rows.sort_values("figure", ascending=False)
    _bars(axes, rows, lambda row: f"{row.library}: {row.method.replace(', ', ',' + chr(10), 1)}")
    axes.axvline(0, color="black", lw=1)
    axes.set(xlabel="LDS, rank correlation with retraining (0: chance)", title="Whose scores predict retraining?")
    first = next(rows.itertuples())
    return f"{first.library}, {first.method}, {first.figure:.3f}"


def _bars(axes: Axes, rows: pd.DataFrame, label: Callable[[Any], str]) -> None:
    """A dot with its spread for each row, the first on top."""
    for place, row in enumerate(rows.itertuples()):
        colour = _LIBRARIES[row.library]
        axes.plot([row.low, row.high], [-place, -place], color=colour, lw=3, solid_capstyle="butt", alpha=0.6)
        axes.plot(row.figure, -place, "o", color=colour, ms=8)
    axes.set_yticks([-place for place in range(len(rows))], [label(row) for row in rows.itertuples()], fontsize=9)
    axes.grid(axis="x", color="#dddddd")


def _what_takes_how_long(row: Any) -> str:
    return f"{row.case.removesuffix(': against ours')}:\n{row.library}, {row.method}"


def _whose_error(row: Any) -> str:
    return f"{row.case.removesuffix(', error')}: {row.library}"


def _growth(axes: Axes, rows: pd.DataFrame) -> None:
    times = rows[rows["case"].str.startswith("time: ")]
    slopes = rows[rows["case"].str.startswith("slope: ")].set_index("case")["figure"]
    for (case, own), marker, colour in zip(
        times.groupby("case", sort=False), "os^D", (GREEN, PURPLE, BLUE, VERMILLION), strict=False
    ):
        what = case.removeprefix("time: ")
        sizes = own["method"].str.split().str[0].astype(int)
        label = f"{what.removesuffix(', by molecules')}: slope {slopes[f'slope: {what}']:.2f}"
        axes.loglog(sizes, own["figure"], f"{marker}-", color=colour, label=label)
    axes.set(xlabel="molecules (log scale)", ylabel="CPU time / s (log scale)", title="How do our costs grow?")
    axes.set_ylim(bottom=times["figure"].min() / 30)  # room for the legend
    axes.legend(loc="lower right")
