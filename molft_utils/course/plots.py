"""The figures of results: every axis has its unit, every interval is a 95 % interval.

``unit`` is that of the labels: logD, unless a table of your own has another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from numpy.typing import ArrayLike

from ..evaluation import Difference, mean_gap
from .figure import COLOURS, colour_of, draw_molecules, look, new_figure, show, styles  # noqa: F401


def _rows(axes: Axes, table: pd.DataFrame, colours: Sequence[str]) -> np.ndarray:
    """A point with its interval for each row (``mean``, ``low``, ``high``), the first on top; their heights."""
    heights = np.arange(len(table))[::-1]
    for height, row, colour in zip(heights, table.itertuples(), colours, strict=True):
        reach = [[row.mean - row.low], [row.high - row.mean]]
        axes.errorbar(row.mean, height, xerr=reach, fmt="o", capsize=3, color=colour)
    axes.set_yticks(heights, list(table.index))
    axes.set_ylim(-0.6, len(table) - 0.4)
    return heights


def _table(rows: Mapping[str, tuple[float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])


def _curves(axes: Axes, x: Mapping[str, ArrayLike], rows: Mapping[str, pd.DataFrame]) -> None:
    """A line of ``mean`` with intervals ``low`` to ``high`` for each name, at its x."""
    for name, style in styles(rows).items():
        reach = [rows[name]["mean"] - rows[name]["low"], rows[name]["high"] - rows[name]["mean"]]
        axes.errorbar(x[name], rows[name]["mean"], yerr=reach, capsize=2, lw=1.8, label=name, **style)


def _note(axes: Axes, text: str, x: float, y: float, **more: Any) -> None:
    """A small text over a horizontal line: x as a share of the width, y in data."""
    axes.annotate(text, (x, y), xycoords=("axes fraction", "data"), va="bottom", size=9, **more)


@look()
def learning_curve(
    history: pd.DataFrame, name: str, title: str, references: Mapping[str, float] | None = None, unit: str = "logD"
) -> None:
    """Losses by epoch (``epoch``, ``train_loss``, ``validation_loss``): the report's Figures 1 and 2.

    The kept epoch has a ring; ``references`` are losses to compare with, drawn as horizontal lines.
    """
    figure, (axes,) = new_figure()
    epochs, losses = history["epoch"], history["validation_loss"]
    axes.plot(epochs, history["train_loss"], "o-", color=COLOURS["train"], label="training (mean over the epoch)")
    axes.plot(epochs, losses, "s--", color=COLOURS["validation"], label="validation")
    axes.plot(epochs[losses.idxmin()], losses.min(), "o", ms=15, mfc="none", color="black", label="kept epoch")
    for label, value in (references or {}).items():
        axes.axhline(value, color=COLOURS["other"], ls=":", lw=1.2)
        _note(axes, label, 1, value, ha="right", color="#555555")
    axes.set(xlabel="epoch", ylabel=f"mean squared error / {unit}²", title=title, ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    show(figure, name)


@look()
def predicted_against_measured(
    labels: Sequence[float], predictions: Sequence[float], name: str, title: str, unit: str = "logD"
) -> None:
    """Scatter plot of predictions against labels, with the line of equality."""
    figure, (axes,) = new_figure(4.6, 4.4)
    axes.plot(labels, predictions, ".", alpha=0.4, color=COLOURS["test"])
    ends = [min(labels), max(labels)]
    axes.plot(ends, ends, color="black", lw=1)
    axes.set(xlabel=f"measured {unit}", ylabel=f"predicted {unit}", title=title, aspect="equal")
    r = np.corrcoef(labels, predictions)[0, 1]
    show(figure, name, f"{title}: predicted against measured {unit} of {len(labels)} molecules, correlation {r:.2f}.")


@look()
def intervals(
    rows: Mapping[str, tuple[float, float, float]],
    name: str,
    title: str,
    report: Mapping[str, float] | None = None,
    unit: str = "logD",
) -> None:
    """Test RMSE with its interval (value, low, high) for each row, and the report's values as crosses."""
    table = _table(rows)
    figure, (axes,) = new_figure(7.2, 1.4 + 0.42 * len(rows))
    heights = _rows(axes, table, [COLOURS["ours"]] * len(rows))
    axes.plot([], [], "o", color=COLOURS["ours"], label="ours, 95 % interval over test molecules")
    if report:
        crosses = [(report[row], height) for row, height in zip(rows, heights, strict=True) if row in report]
        axes.plot(*zip(*crosses, strict=True), "X", ms=9, color=COLOURS["report"], label="report")
    axes.set(xlabel=f"test RMSE / {unit}", title=title, xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=2)
    said = "; ".join(f"{row} {value:.2f}" for row, value in table["mean"].items())
    show(figure, name, f"{title}. Test RMSE in {unit}: {said}.")


@look()
def differences(rows: Mapping[str, Difference], name: str, title: str, unit: str = "logD") -> None:
    """Paired differences of the test RMSE with their intervals, one per row; coloured if an interval excludes zero."""
    table = _table({row: (found.value, *found.interval) for row, found in rows.items()})
    figure, (axes,) = new_figure(7.2, 1.4 + 0.42 * len(rows))
    _rows(axes, table, [COLOURS[found.verdict] for found in rows.values()])
    axes.axvline(0, color="black", lw=1)
    axes.set(xlabel=f"change of the test RMSE / {unit} (left: better)", title=title)
    for verdict in dict.fromkeys(found.verdict for found in rows.values()):
        axes.plot([], [], "o", color=COLOURS[verdict], label=verdict)
    figure.legend(loc="outside lower center", ncols=3)
    show(figure, name, f"{title}. " + "; ".join(f"{row} {found}" for row, found in rows.items()) + ".")


@look()
def label_curves(table: pd.DataFrame, name: str, title: str, unit: str = "logD") -> None:
    """Test RMSE (``mean``, ``low``, ``high``) against ``labels``, both on log scales, one line per ``model``."""
    figure, (axes,) = new_figure(7.2, 4.6)
    rows = {model: table[table["model"] == model].sort_values("labels") for model in table["model"].unique()}
    shift = {model: 1.03 ** (place - len(rows) / 2) for place, model in enumerate(rows)}  # intervals side by side
    _curves(axes, {model: own["labels"] * shift[model] for model, own in rows.items()}, rows)
    axes.set(xscale="log", yscale="log", xlabel="labelled molecules", ylabel=f"test RMSE / {unit}", title=title)
    counts = sorted(table["labels"].unique())
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    ticks = [tick for tick in (0.6, 0.7, 0.8, 0.9, 1.0, 1.2) if tick > 0.95 * table["low"].min()]
    axes.set_yticks(ticks, [f"{tick:.1f}" for tick in ticks])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2)
    show(figure, name)


@look()
def convergence(histories: Mapping[str, pd.DataFrame], name: str) -> None:
    """``residual`` of inverse Hessian products against ``n_products``, the number of products, both on log scales."""
    figure, (axes,) = new_figure()
    for label, history in histories.items():
        axes.loglog(history["n_products"], history["residual"], "o-", label=label)
    axes.axhline(1, color=COLOURS["other"], lw=1)
    _note(axes, "no better than s = 0", 1, 1, ha="right")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set(xlabel="products (one batch each)", ylabel="relative residual", title="Has it converged?")
    axes.legend()
    show(figure, name)


@look()
def stability(runs: Mapping[str, Sequence[tuple[float, float]]], name: str) -> None:
    """Work spent and split-half rank correlation, for each kind of data value."""
    figure, (axes,) = new_figure()
    for (label, points), style in zip(runs.items(), ("o-", "s--"), strict=False):
        axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="marginal contributions per molecule", ylabel="split-half rank correlation", ylim=(0, 1))
    axes.set(title="Do two halves of the work agree?")
    axes.legend()
    show(figure, name)


@look()
def removal(curve: pd.DataFrame, optimum: int, name: str) -> None:
    """RMSE of the source model against ``n_removed`` molecules: ``lowest`` first, ``random``, or ``highest`` first."""
    figure, (axes,) = new_figure()
    orders = {"lowest": ("lowest values first", "TS-DShapley", "-"), "random": ("in random order", "random", ":")}
    orders["highest"] = ("highest values first", "other", "--")
    for column, (label, colour, line) in orders.items():
        axes.plot(curve["n_removed"], curve[column], line, lw=2, label=label, color=COLOURS[colour])
    axes.axvline(optimum, color="black", lw=1)
    axes.annotate(f" best: {optimum}", (optimum, 0.05), xycoords=("data", "axes fraction"), size=9)
    axes.set(xlabel="molecules removed", ylabel="RMSE / standard deviations", ylim=(0, None))
    axes.set_title("The source model, as molecules are removed")
    figure.legend(loc="outside lower center", ncols=3)
    show(figure, name)


@look()
def attribution(table: pd.DataFrame, ceiling: float, name: str, title: str) -> None:
    """``LDS`` of each score with its interval ``low`` to ``high``, and what other seeds of the retrainings reach."""
    figure, (axes,) = new_figure(7.2, 1.6 + 0.42 * len(table))
    _rows(axes, table.rename(columns={"LDS": "mean"}), [colour_of(str(score)) for score in table.index])
    axes.axvline(ceiling, color="black", ls="--", lw=1.5, label="other seeds of the same retrainings")
    axes.axvline(0, color="black", lw=1)
    axes.set(xlabel="LDS, rank correlation with retraining\n(0: chance, 1: perfect)", title=title)
    figure.legend(loc="outside lower center")
    said = "; ".join(f"{score} {value:.3f}" for score, value in table["LDS"].items())
    show(figure, name, f"{title}. LDS: {said}; other seeds {ceiling:.3f}.")


@look()
def ranked(values: np.ndarray, wrong: np.ndarray, name: str, title: str) -> None:
    """Molecules from the lowest value to the highest, ``wrong`` labels in colour; below, how many are found."""
    in_order = wrong[np.argsort(values, kind="stable")]
    found, n_wrong = np.cumsum(in_order), int(wrong.sum())
    places = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7.2, 4.4))
    strip, curve = figure.subplots(2, 1, sharex=True, height_ratios=(1, 4))
    strip.vlines(places[~in_order], 0, 1, color=COLOURS["right label"], lw=0.6, alpha=0.3)
    strip.vlines(places[in_order], 0, 1, color=COLOURS["wrong label"], lw=0.6)
    strip.set(yticks=[], title=title)
    strip.spines["left"].set_visible(False)
    curve.plot(places, found, color=COLOURS["wrong label"], lw=2, label="found")
    curve.plot(places, np.minimum(places, n_wrong), color=COLOURS["oracle"], lw=1.5, label="oracle")
    curve.plot(places, places * n_wrong / len(values), color=COLOURS["random"], lw=1.5, ls=":", label="random order")
    curve.axvline(n_wrong, color=COLOURS["other"], lw=1)
    curve.set(xlabel="molecules, lowest value first", ylabel="wrong labels among them", ylim=(0, None))
    curve.legend(loc="lower right")
    n_found, by_chance = (found[n_wrong - 1] if n_wrong else 0), n_wrong**2 / len(values)
    alt = f"{n_found} of the {n_wrong} lowest values belong to wrong labels; by chance it would be {by_chance:.0f}"
    show(figure, name, f"{title}. {alt}.")


@look()
def selection_curves(
    table: pd.DataFrame, kind: str, rules: Sequence[str], name: str, title: str, unit: str = "logD"
) -> None:
    """Test RMSE (``mean``, ``low``, ``high``) against the ``share`` of wrong labels of a kind, one line per ``rule``.

    If no label is wrong, every rule without a row of its own (all but "clean only") keeps all.
    """
    rows = table[table["kind"] == kind]
    no_errors = rows[(rows["share"] == 0) & (rows["rule"] == "keep all")]
    curves, x = {}, {}
    for place, rule in enumerate(rules):
        own = rows[rows["rule"] == rule]
        curves[rule] = (own if (own["share"] == 0).any() else pd.concat([no_errors, own])).sort_values("share")
        x[rule] = 100 * curves[rule]["share"] + 0.4 * (place - len(rules) / 2)  # intervals side by side
    figure, (axes,) = new_figure(8.4, 4.6)
    _curves(axes, x, curves)
    axes.set(xlabel="wrong labels in the pool / %", ylabel=f"test RMSE / {unit}", title=title)
    axes.set_xticks(sorted(100 * rows["share"].unique()))
    figure.legend(loc="outside right upper")
    show(figure, name)


@look()
def table3(panels: Mapping[str, pd.DataFrame], mean_predictor: float, name: str) -> None:
    """Heat maps of the test RMSE (logD) by selection and method; white is the error of predicting the mean.

    Each panel has one row per cell: ``selection``, ``method``, ``rmse`` and, if known, ``rmse_low`` to ``rmse_high``.
    """
    figure, axes = new_figure(7.0 * len(panels), 3.8, columns=len(panels))
    norm = TwoSlopeNorm(mean_predictor, vmin=0.6, vmax=2.7)
    for panel, (title, cells) in zip(axes, panels.items(), strict=True):
        selections, methods = list(cells["selection"].unique()), list(cells["method"].unique())
        image = panel.imshow(
            cells.pivot(index="selection", columns="method", values="rmse").loc[selections, methods],
            cmap="RdBu_r", norm=norm, aspect="auto",
        )  # fmt: skip
        for _, cell in cells.iterrows():
            place = methods.index(cell["method"]), selections.index(cell["selection"])
            text = f"{cell['rmse']:.3f}"
            if "rmse_low" in cell:
                text += f"\n[{cell['rmse_low']:.2f}, {cell['rmse_high']:.2f}]"
            dark = abs(norm(cell["rmse"]) - 0.5) > 0.3
            panel.text(*place, text, ha="center", va="center", size=10, color="white" if dark else "black")
        panel.set_xticks(range(len(methods)), methods)
        panel.set_yticks(range(len(selections)), selections)
        panel.set_title(title)
    figure.colorbar(image, ax=list(axes), label="test RMSE / logD", ticks=[0.6, 0.8, 1, 1.2, 1.5, 2, 2.5])
    said = "; ".join(
        f"{title}: " + ", ".join(f"{cell.selection}/{cell.method} {cell.rmse:.2f}" for cell in cells.itertuples())
        for title, cells in panels.items()
    )
    show(figure, name, f"Test RMSE in logD by selection and method. {said}.")


@look()
def table4(cells: pd.DataFrame, time: pd.Series, minutes: pd.Series, name: str) -> None:
    """What a method costs: time relative to full fine-tuning, ours and the report's, and test RMSE (logD).

    ``cells`` has one row per ``method``: ``rmse``, ``rmse_low``, ``rmse_high``. ``time`` is ours and ``minutes`` the
    report's, by method, each in any unit.
    """
    cells = cells.set_index("method")
    time, theirs = time / time["full"], minutes / minutes["full"]
    figure, (left, right) = new_figure(10.0, 3.4, columns=2)
    places = np.arange(len(cells))
    left.bar(places - 0.2, time[cells.index], 0.4, color=COLOURS["ours"], label="ours")
    left.bar(places + 0.2, theirs.reindex(cells.index), 0.4, color=COLOURS["report"], label="report")
    left.set(ylabel="time / time of full fine-tuning", title="Time")
    left.set_ylim(0, 1.25 * max(time.max(), theirs.max()))  # space for the legend
    left.legend(loc="upper left", ncols=2)
    for place, (method, cell) in enumerate(cells.iterrows()):
        reach = [[cell["rmse"] - cell["rmse_low"]], [cell["rmse_high"] - cell["rmse"]]]
        right.errorbar(place, cell["rmse"], yerr=reach, fmt="o", capsize=3, color=colour_of(str(method)))
    right.set(ylabel="test RMSE / logD", title="Error", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(places, list(cells.index))
    rows = "; ".join(f"{method}: time {time[method]:.2f}, RMSE {rmse:.2f}" for method, rmse in cells["rmse"].items())
    show(figure, name, f"Cost by method, time relative to full fine-tuning. {rows}.")


@look()
def rate_curves(table: pd.DataFrame, mean_predictor: float, name: str) -> None:
    """Validation RMSE (logD) against the learning rate, one line per method, one panel per number of epochs.

    ``table`` has ``name``, ``epochs``, ``rate``, ``validation``, and ``best``: the chosen rate, which has a ring. The
    dotted line is the validation RMSE of predicting the mean.
    """
    epochs, said = sorted(table["epochs"].unique()), []
    figure, axes = new_figure(6.4 * len(epochs), 4.8, columns=len(epochs))
    for panel, n in zip(axes, epochs, strict=True):
        for label, style in styles(table["name"]).items():
            rows = table[(table["name"] == label) & (table["epochs"] == n)].sort_values("rate")
            panel.plot(rows["rate"], rows["validation"], lw=1.6, ms=5, label=label, **style)
            for best in rows[rows["best"]].itertuples():
                panel.plot(best.rate, best.validation, "o", ms=13, mfc="none", mec=style["color"], mew=1.6)
                said.append(f"{label}, {n} epochs: {best.validation:.2f} at {best.rate:.0e}")
        panel.axhline(mean_predictor, color=COLOURS["other"], ls=":")
        panel.set(xscale="log", xlabel="learning rate", title=f"{n} epochs")
        panel.set_ylim(table["validation"].min() - 0.03, mean_predictor + 0.06)
    axes[0].set(ylabel="validation RMSE / logD")
    _note(axes[0], "predict the mean", 0.02, mean_predictor)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    show(figure, name, f"Validation RMSE against the learning rate. Best: {'; '.join(said)}.")


@look()
def seed_variance(gaps: pd.Series, a: str, b: str, name: str) -> None:
    """Test RMSE (logD) of a minus that of b, by seed, and the mean of these gaps as the number of seeds grows."""
    figure, (left, right) = new_figure(11.6, 3.8, columns=2)
    reach = float(gaps.abs().max()) * 1.05
    for side, label, colour in ((gaps < 0, a, COLOURS["better"]), (gaps > 0, b, COLOURS["worse"])):
        text = f"{label} is better: {side.sum()} of {len(gaps)} seeds"
        left.hist(gaps[side], np.linspace(-reach, reach, 17), color=colour, label=text)
    left.axvline(0, color="black", lw=1)
    left.set(xlabel="difference of one seed / logD", ylabel="seeds", title="One seed always has a winner")
    figure.legend(loc="outside lower center", ncols=2)
    counts = range(3, len(gaps) + 1)
    means = [mean_gap(gaps.iloc[:n]) for n in counts]
    right.plot(counts, [found.value for found in means], color="black")
    right.fill_between(
        counts, *zip(*(found.interval for found in means), strict=True), color=COLOURS["other"], alpha=0.4
    )
    right.axhline(0, color="black", lw=1)
    right.set(xlabel="number of seeds", ylabel="mean difference / logD", title="Many seeds: mean and 95 % interval")
    wins = f"{a} is better with {(gaps < 0).sum()} seeds, {b} with {(gaps > 0).sum()}"
    show(figure, name, f"{a} against {b}: {wins}; mean difference {means[-1]}.")
