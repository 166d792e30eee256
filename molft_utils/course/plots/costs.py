"""Figures of the grid: the report's Tables 3 and 4, what the learning rate decides, and what luck does."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns

from ...evaluation import mean_gap
from ..figure import COLOURS, SIX, look, new_figure, show


@look()
def table3(panels: Mapping[str, pd.DataFrame], mean_predictor: float, name: str) -> None:
    """Heat maps of the test RMSE by selection and method, side by side in the same colours.

    White is the error of predicting the mean; blue is better, red worse.

    Parameters
    ----------
    panels
        Title -> a row a cell: ``selection``, ``method``, ``rmse`` and, where it is known, its interval ``rmse_low`` to
        ``rmse_high``.
    """
    figure, axes = new_figure(7.0 * len(panels), 3.8, columns=len(panels))
    for panel, (title, cells) in zip(axes, panels.items(), strict=True):
        sns.heatmap(
            _wide(cells, cells["rmse"]),
            ax=panel,
            annot=_wide(cells, cells.apply(_with_interval, axis=1)),
            annot_kws={"size": 9},
            fmt="",
            cmap="RdBu_r",
            norm=matplotlib.colors.TwoSlopeNorm(mean_predictor, vmin=0.6, vmax=2.7),
            cbar=panel is axes[-1],
            cbar_kws={"label": "test RMSE / logD", "ticks": [0.6, 0.8, 1, 1.2, 1.5, 2, 2.5]},
        )
        panel.set(title=title, xlabel="", ylabel="")
        panel.tick_params(axis="y", rotation=0)
    panel_values = [
        f"{title}: " + ", ".join(f"{cell.selection}/{cell.method} {cell.rmse:.2f}" for cell in cells.itertuples())
        for title, cells in panels.items()
    ]
    show(figure, name, f"Test RMSE in logD by selection and method. {'; '.join(panel_values)}.")


def _wide(cells: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    wide = cells.assign(values=values).pivot(index="selection", columns="method", values="values")
    return wide.loc[cells["selection"].unique(), cells["method"].unique()]


def _with_interval(cell: pd.Series) -> str:
    interval = f"\n[{cell['rmse_low']:.2f}, {cell['rmse_high']:.2f}]" if "rmse_low" in cell else ""
    return f"{cell['rmse']:.3f}{interval}"


@look()
def table4(cells: pd.DataFrame, time: pd.Series, minutes: pd.Series, name: str) -> None:
    """What a method costs: time relative to full fine-tuning, ours and the report's; test RMSE; trained parameters.

    Parameters
    ----------
    cells
        A row a method: ``method``, ``rmse``, ``rmse_low``, ``rmse_high``, ``trained``.
    time, minutes
        By method: ours, and the report's, each in any unit.
    """
    cells = cells.set_index("method")
    time, theirs = time / time["full"], minutes / minutes["full"]
    figure, (left, middle, right) = new_figure(12.8, 3.4, columns=3)
    places = np.arange(len(cells))
    left.bar(places - 0.2, time[cells.index], 0.4, color=COLOURS["train"], label="ours")
    left.bar(places + 0.2, theirs.reindex(cells.index), 0.4, color=COLOURS["report"], label="report")
    left.set(ylabel="time / that of full fine-tuning", title="Time")
    left.set_ylim(0, 1.25 * max(time.max(), theirs.max()))  # room for the legend
    left.legend(loc="upper left", ncols=2)
    interval = [cells["rmse"] - cells["rmse_low"], cells["rmse_high"] - cells["rmse"]]
    middle.bar(places, cells["rmse"], 0.6, yerr=interval, capsize=3, color=COLOURS["train"])
    middle.set(ylabel="test RMSE / logD", title="Error")
    right.plot(places, cells["trained"], "o", color=COLOURS["train"])  # a bar has no foot on a log scale
    right.set(ylabel="parameters (log scale)", title="Trained parameters", yscale="log", ylim=(1e3, 3e6))
    right.margins(x=0.2)
    for place, count in zip(places, cells["trained"], strict=True):
        right.annotate(f"{count:,}", (place, count), xytext=(0, 7), textcoords="offset points", ha="center", size=10)
    for axes in (left, middle, right):
        axes.set_xticks(places, list(cells.index))
    values = "; ".join(
        f"{m}: time {time[m]:.2f}, RMSE {cells.loc[m, 'rmse']:.2f}, {cells.loc[m, 'trained']:,} trained"
        for m in cells.index
    )
    show(figure, name, f"Cost by method, time relative to full fine-tuning. {values}.")


@look()
def rate_curves(table: pd.DataFrame, mean_predictor: float, name: str) -> None:
    """Validation RMSE (logD) against the learning rate, a line a method, a panel for each number of epochs.

    Parameters
    ----------
    table
        As :func:`~molft_utils.evaluation.record_sweep` gives it; the best rate of a line has a ring.
    mean_predictor
        RMSE of predicting the mean, on the validation split.
    """
    epochs = sorted(table["epochs"].unique())
    figure, axes = new_figure(6.4 * len(epochs), 4.8, columns=len(epochs))
    styles = dict(zip(dict.fromkeys(table["name"]), zip("osD^vP*", ("#000000", *SIX), strict=True), strict=False))
    said = []
    for panel, n in zip(axes, epochs, strict=True):
        for label, (marker, colour) in styles.items():
            rows = table[(table["name"] == label) & (table["epochs"] == n)].sort_values("rate")
            panel.plot(rows["rate"], rows["validation"], f"{marker}-", color=colour, lw=1.6, ms=5, label=label)
            for best in rows[rows["best"]].itertuples():
                panel.plot(best.rate, best.validation, "o", ms=13, mfc="none", mec=colour, mew=1.6)
                said.append(f"{label}, {n} epochs: {best.validation:.2f} at {best.rate:.0e}")
        panel.axhline(mean_predictor, color=COLOURS["other"], ls=":")
        panel.set(xscale="log", xlabel="learning rate", title=f"{n} epochs")
        panel.set_ylim(table["validation"].min() - 0.03, mean_predictor + 0.06)
    axes[0].set(ylabel="validation RMSE / logD")
    axes[0].annotate(
        "predict the mean", (0.02, mean_predictor), xycoords=("axes fraction", "data"), va="bottom", size=9
    )
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
    show(figure, name, f"Validation RMSE against the learning rate. Best: {'; '.join(said)}.")


@look()
def luck(gaps: pd.Series, a: str, b: str, name: str) -> None:
    """Who wins with one seed: a histogram of the differences by seed, and their mean as seeds come in.

    Parameters
    ----------
    gaps
        Test RMSE (logD) of a minus that of b, by seed (:func:`~molft_utils.evaluation.gaps`).
    a, b
        What is compared.
    """
    figure, (left, right) = new_figure(11.6, 3.8, columns=2)
    reach = float(gaps.abs().max()) * 1.05
    edges = np.linspace(-reach, reach, 17)
    for side, label, colour in ((gaps < 0, a, COLOURS["train"]), (gaps > 0, b, COLOURS["validation"])):
        left.hist(gaps[side], edges, color=colour, label=f"{label} wins: {side.sum()} of {len(gaps)} seeds")
    left.axvline(0, color="black", lw=1)
    left.set(xlabel="difference of one seed / logD", ylabel="seeds", title="One seed: a winner every time")
    figure.legend(loc="outside lower center", ncols=2)
    counts = range(3, len(gaps) + 1)
    means = [mean_gap(gaps.iloc[:n]) for n in counts]
    right.plot(counts, [found.value for found in means], color="black", label="mean")
    right.fill_between(
        counts, *zip(*(found.interval for found in means), strict=True), color=COLOURS["other"], alpha=0.4
    )
    right.axhline(0, color="black", lw=1)
    right.set(
        xlabel="seeds so far", ylabel="mean difference / logD", title="Many seeds: the mean and its 95 % interval"
    )
    wins = f"{a} wins with {(gaps < 0).sum()} seeds, {b} with {(gaps > 0).sum()}"
    show(figure, name, f"{a} against {b}: {wins}; mean difference {means[-1]}.")
