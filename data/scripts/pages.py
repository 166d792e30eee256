"""Write the reported figures into the README files: ``python data/scripts/pages.py [PAGE ...]``.

A figure stands between two comments. The first names a function of this file and its arguments::

    <!-- figures: difference table1 after-mlm baseline -->−0.005 [−0.014, +0.004]: no difference shown<!-- end -->
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molft_utils.evaluation import Difference, mean_rmse, over_models, results
from molft_utils.files import CARRIED, ROOT

CARDS = [folder / "README.md" for folder in CARRIED.values()]
PAGES = [ROOT / "README.md", ROOT / "data/results/README.md", ROOT / "tests/README.md", *CARDS]

BETWEEN_COMMENTS = re.compile(r"(<!-- figures: (.+?) -->).*?(<!-- end -->)", re.DOTALL)


def mean(table: str, variant: str, column: str = "rmse", **where: str | float) -> str:
    """Test RMSE of a variant, or another column: mean and standard deviation over seeds."""
    figures = _rows(table, variant=variant, **where)[column]
    return f"{figures.mean():.3f} ± {figures.std():.3f}"


def error(table: str, variant: str) -> str:
    """Test RMSE of a variant with its 95 % interval over test molecules, and over seeds where these differ."""
    rows, predictions = _rows(table, variant=variant), results.load_results(f"{table}_predictions")
    runs = predictions[[f"{variant}/{seed}" for seed in rows["seed"]]].to_numpy().T
    rmse, (low, high) = mean_rmse(predictions["label"], runs)
    return f"{rmse:.3f} [{low:.3f}, {high:.3f}]"


def difference(table: str, a: str, b: str, **where: Any) -> str:
    """Test RMSE of a minus that of b with its 95 % interval; says so if the interval includes zero."""
    return _compared(results.difference(table, a, b, **where))


def change(table: str, column: str, a: str, b: str, **where: str | float) -> str:
    """As :func:`difference`, for another column of two variants and over seeds alone."""
    rows = _rows(table, **where)
    return _compared(results.mean_gap(results.paired_gaps(rows.assign(rmse=rows[column]), a, b, "variant")))


def equal(table: str, a: str, b: str, margin: float) -> str:
    """As :func:`difference`; are the two equal, that is: does the whole interval lie within a margin (logD)?"""
    found = results.difference(table, a, b)
    figure, *_ = _compared(found).split(":")
    return f"{figure}: {'equal' if found.is_within(margin) else 'not shown to be equal'}"


def value(table: str, columns: str, form: str, **where: str | float) -> str:
    """The mean of one column, or of three: a figure and both ends of its interval (``test,low,high``)."""
    return _cell(_rows(table, **where)[columns.split(",")].mean(), form)


def over_scored(table: str, columns: str = "test,low,high", form: str = ".3f", **where: str | float) -> str:
    """The mean of a figure over the scored models; its interval is over queries, subsets and models."""
    rows, (column, *ends) = _rows(table, **where), columns.split(",")
    figure, (low, high) = over_models(rows[column], rows[ends])
    return f"{figure:{form}} [{low:{form}}, {high:{form}}]"


def over_seeds(table: str, column: str, form: str, less: float = 0, **where: str | float) -> str:
    """The mean of a column, from which a number is taken, with its smallest and largest value."""
    figures = _rows(table, **where)[column] - less
    return f"{figures.mean():{form}} ({figures.min():{form}} to {figures.max():{form}})"


def spread(table: str, *variants: str) -> str:
    """By how much the mean test RMSE of some variants differs at most."""
    return f"{np.ptp([_rows(table, variant=variant)['rmse'].mean() for variant in variants]):.3f}"


def pivot(table: str, rows: str, columns: str, column: str, form: str, **where: str | float) -> str:
    """Means as a whole table, rows with large means first; a dash where nothing was run. ``column`` as in ``value``."""
    across, figures = columns.split(","), column.split(",")
    means = _rows(table, **where).groupby([rows, *across])[figures].mean().dropna()
    order = means[figures[0]].groupby(rows).mean().sort_values(ascending=False).index
    cells = means.apply(_cell, axis=1, form=form).unstack(across).sort_index(axis=1).loc[order].fillna("–")
    lines = [["", *map(_heading, cells)], ["---"] * (1 + cells.shape[1]), *cells.reset_index().to_numpy().tolist()]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rate(name: str, epochs: str, standard_errors: float = 1) -> str:
    """The learning rate that the sweep chose on the validation split."""
    sweep = results.sweep(standard_errors)
    chosen = sweep[sweep["best"] & (sweep["name"] == name) & (sweep["epochs"] == int(epochs))]
    return f"{chosen['rate'].item():.0e}"


FUNCTIONS: dict[str, Any] = {
    function.__name__: function
    for function in (mean, error, difference, change, equal, value, over_scored, over_seeds, spread, pivot, rate)
}


def rewritten(text: str) -> str:
    """A page's text, each figure as the tables have it."""
    return BETWEEN_COMMENTS.sub(lambda match: f"{match[1]}{_figure(match[2])}{match[3]}", text)


def _figure(call: str) -> str:
    name, *arguments = shlex.split(call)
    named = dict(text.split("=", 1) for text in arguments if re.match(r"\w+=", text))
    positional = [text for text in arguments if not re.match(r"\w+=", text)]
    figure = FUNCTIONS[name](*positional, **{key: _number(text) for key, text in named.items()})
    return re.sub(r"(?<!\w)-(?=\d)", "−", figure).replace("e-0", "e-")  # a minus sign, and 1e-3 for 1e-03


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _cell(figures: pd.Series, form: str) -> str:
    figure, *interval = (f"{figure:{form}}" for figure in figures)
    return f"{figure} [{', '.join(interval)}]" if interval else figure


def _compared(found: Difference) -> str:
    low, high = found.interval
    figure = f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]"
    return figure if low > 0 or high < 0 else f"{figure}: {found.verdict}"


def _rows(table: str, **where: str | float) -> pd.DataFrame:
    rows = results.load_results(table)
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    if rows.empty:
        raise SystemExit(f"data/results/{table}.csv has no row with {where}")
    return rows


def _heading(name: object) -> str:
    if isinstance(name, tuple):  # ("permuted", 0.2) -> permuted, 20 %
        return ", ".join(map(_heading, name))
    return name if isinstance(name, str) else f"{100 * name:.0f} %" if isinstance(name, float) else f"{name:,}"


if __name__ == "__main__":
    for page in [Path(name) for name in sys.argv[1:]] or PAGES:
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
