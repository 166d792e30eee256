"""The figures of results: every axis has its unit, every interval is a 95 % interval.

``unit`` is that of the labels: logD, unless a table of your own has another.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..evaluation import Difference, auroc, mean_gap
from .figure import COLOURS, colour_of, draw_molecules, label_ends, look, new_figure, show, styles  # noqa: F401


def _rows(axes: Axes, rows: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """A point with its interval for each row (value, low, high), the first on top."""
    for place, ((value, low, high), colour) in enumerate(zip(rows.values(), colours, strict=True)):
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", capsize=3, color=colour)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _curves(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    """A line of ``mean`` with intervals ``low`` to ``high`` against ``x`` for each name."""
    for name, style in styles(curves).items():
        own = curves[name]
        reach = [own["mean"] - own["low"], own["high"] - own["mean"]]
        axes.errorbar(own["x"], own["mean"], yerr=reach, capsize=2, lw=1.8, label=name, **style)


@look()
def nearest(splits: Mapping[str, np.ndarray], name: str, title: str) -> None:
    """The share of test molecules whose nearest training molecule has at most a similarity, a line for each split."""
    figure, (axes,) = new_figure(6.8, 4.0)
    for split, style in styles(splits).items():
        axes.ecdf(splits[split], label=f"{split}: median {np.median(splits[split]):.2f}", lw=2, color=style["color"])
    axes.set(xlabel="similarity to the nearest training molecule", ylabel="share of test molecules", title=title)
    axes.legend()
    show(figure, name, f"{title}. Similarity, {', '.join(axes.get_legend_handles_labels()[1])}.")


@look()
def logp_logd(groups: Mapping[str, pd.DataFrame], name: str, title: str) -> None:
    """Measured ``logd`` against measured ``logp`` of groups of molecules, and the line of equality."""
    figure, (axes,) = new_figure(6.0, 5.4)
    for (group, rows), marker in zip(groups.items(), "o^", strict=True):
        gap = f"{group}, {len(rows)} molecules: median of logP − logD {(rows['logp'] - rows['logd']).median():.2f}"
        axes.plot(rows["logp"], rows["logd"], marker, ms=6, alpha=0.7, color=COLOURS[group], label=gap)
    axes.axline((0, 0), slope=1, color="black", lw=1, label="logD = logP")
    axes.set(xlabel="measured logP", ylabel="measured logD at pH 7.4", aspect="equal", title=title)
    figure.legend(loc="outside lower left")
    show(figure, name, f"{title}. {'; '.join(axes.get_legend_handles_labels()[1])}.")


@look()
def losses(
    runs: Mapping[str, Sequence[float]], name: str, title: str, x: str, y: str, references: Mapping[str, float]
) -> None:
    """Losses of each run against 1, 2, …, by "step" or by "epoch" (``x``); ``references`` are losses to compare with.

    A line of steps shows the mean of the last twenty. A ring marks the epoch of the lowest loss, except for "train".
    """
    figure, (axes,) = new_figure(6.8, 4.0)
    for label, run in runs.items():
        line = pd.Series(np.asarray(run), index=range(1, len(run) + 1))
        line = line.rolling(20, min_periods=1).mean() if x == "step" else line
        axes.plot(line, "-" if x == "step" else "o-", lw=2, color=colour_of(label), label=label)
        if x == "epoch" and label != "train":
            axes.plot(line.idxmin(), line.min(), "o", ms=12, mfc="none", color=colour_of(label), clip_on=False)
    for label, value in references.items():
        axes.axhline(value, color=COLOURS["other"], ls=":", lw=1.2)
        over_line = {"transform": axes.get_yaxis_transform(), "va": "bottom", "size": 9}
        axes.text(1, value, label, ha="right", color="#555555", **over_line)
    axes.set(xlabel=x, ylabel=y, title=title, ylim=(0, None), xmargin=0.01)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(axes)
    show(figure, name)


@look()
def intervals(
    rows: Mapping[str, Sequence[float]], name: str, title: str, unit: str = "logD", colours: Sequence[str] = ()
) -> None:
    """Test RMSE with its interval over test molecules (value, low, high) for each row; ``colours``: names of these."""
    figure, (axes,) = new_figure(7.2, 1.2 + 0.42 * len(rows))
    _rows(axes, rows, [COLOURS[colour] for colour in colours or ["ours"] * len(rows)])
    axes.set(xlabel=f"test RMSE / {unit}, with 95 % intervals over test molecules", title=title, xlim=(0, None))
    said = "; ".join(f"{row} {value:.2f}" for row, (value, _, _) in rows.items())
    show(figure, name, f"{title}. Test RMSE in {unit}: {said}.")


@look()
def differences(
    rows: Mapping[str, Difference], name: str, title: str, unit: str = "logD", margin: float = 0.0, reach: float = 0.0
) -> None:
    """Paired differences of the test RMSE with their intervals, one per row; coloured by the verdict.

    ``margin``: half the width of a shaded band around zero, within which an interval
    means "equal"; ``reach``: where the axis ends, if it should cut intervals.
    """
    figure, (axes,) = new_figure(7.2, 1.4 + 0.42 * len(rows))
    verdicts = ["equal" if margin and found.is_within(margin) else found.verdict for found in rows.values()]
    _rows(axes, {row: (found.value, *found.interval) for row, found in rows.items()}, [COLOURS[v] for v in verdicts])
    axes.axvline(0, color="black", lw=1)
    axes.axvspan(-margin, margin, color=COLOURS["other"], alpha=0.15)
    axes.set(xlabel=f"difference in test RMSE / {unit} (left: better)", title=title)
    if reach:
        axes.set_xlim(-reach, reach)
    for verdict in dict.fromkeys(verdicts):
        axes.plot([], [], "o", color=COLOURS[verdict], label=verdict)
    figure.legend(loc="outside lower center", ncols=3)
    show(figure, name, f"{title}. " + "; ".join(f"{row} {found}" for row, found in rows.items()) + ".")


@look()
def label_curves(table: pd.DataFrame, name: str, title: str) -> None:
    """Test RMSE (logD; ``mean``, ``low``, ``high``) against ``labels`` on a log scale, one line per ``model``."""
    figure, (axes,) = new_figure(7.2, 4.2)
    place = pd.factorize(table["model"])[0]
    side_by_side = 1.02 ** (place - place.max() / 2)  # or intervals would hide each other
    rows = table.assign(x=table["labels"] * side_by_side).sort_values("x")
    _curves(axes, {str(model): own for model, own in rows.groupby("model", sort=False)})
    axes.set(
        xscale="log", xlabel="labelled molecules (log scale)", title=title, ylabel="test RMSE / logD, 95 % intervals"
    )
    counts = sorted(table["labels"].unique())
    axes.set_xticks(counts, [f"{n:,}" for n in counts])
    axes.minorticks_off()
    label_ends(axes)
    show(figure, name)


@look()
def halves(groups: Mapping[str, np.ndarray], measured: float, name: str, title: str) -> None:
    """What models of several training sets predict for one molecule (logD): a stacked histogram of the groups."""
    figure, (axes,) = new_figure()
    axes.set_prop_cycle(color=[COLOURS["train"], COLOURS["other"]])
    axes.hist(list(groups.values()), 25, stacked=True, label=list(groups))
    axes.axvline(measured, color="black", ls="--", label="measured")
    axes.set(xlabel="predicted logD", ylabel="training sets", title=title)
    figure.legend(loc="outside lower center", ncols=3)
    means = ", ".join(f"{group} {values.mean():.2f}" for group, values in groups.items())
    show(figure, name, f"{title}. Mean prediction in logD: {means}; measured {measured:.2f}.")


@look()
def predicted_against_real(panels: Mapping[str, Sequence[np.ndarray]], name: str, what: str, **marked: int) -> None:
    """Real against predicted ``what`` (with its unit): title of a panel -> predicted [n], real [n].

    ``marked`` names single points.
    """
    figure, axes = new_figure(max(4.6, 3.6 * len(panels)), 4.2, columns=len(panels), sharey=True)
    for panel, (title, (predicted, real)) in zip(axes, panels.items(), strict=True):
        (slope, start), r = np.polyfit(predicted, real, 1), np.corrcoef(predicted, real)[0, 1]
        panel.plot(predicted, real, "o", ms=4, alpha=0.4, color=COLOURS["influence"])
        panel.axline((0, 0), slope=1, color="black", lw=1, ls=":", label="equality")
        panel.axline((0, start), slope=slope, color=COLOURS["influence"], lw=1.5, label="least squares")
        panel.set(xlabel=f"predicted {what}", title=f"{title}\ncorrelation {r:.2f}, slope {slope:.2f}")
        for label, i in marked.items():
            panel.plot(predicted[i], real[i], "D", ms=8, color=COLOURS["trained"], label=label)
    axes[0].set_ylabel(f"real {what}")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    show(figure, name)


@look()
def attribution(table: pd.DataFrame, one_more_seed: float, ceiling: float, name: str, title: str) -> None:
    """``LDS`` of each score with its interval ``low`` to ``high``; the two references of an LDS as lines."""
    figure, (axes,) = new_figure(7.2, 1.6 + 0.42 * len(table))
    _rows(axes, table[["LDS", "low", "high"]].T.to_dict("list"), [colour_of(str(score)) for score in table.index])
    axes.axvline(one_more_seed, color="black", ls=":", lw=1.5, label="one more seed")
    axes.axvline(ceiling, color="black", ls="--", lw=1.5, label="ceiling")
    axes.axvline(0, color="black", lw=1)
    axes.set(xlabel="LDS, rank correlation with retraining\n(0: chance, 1: perfect)", title=title)
    figure.legend(loc="outside lower center", ncols=2)
    said = "; ".join(f"{score} {value:.3f}" for score, value in table["LDS"].items())
    show(figure, name, f"{title}. LDS: {said}; one more seed {one_more_seed:.3f}; ceiling {ceiling:.3f}.")


@look()
def ranked(values: np.ndarray, wrong: np.ndarray, name: str, title: str) -> None:
    """Molecules from the lowest value to the highest, ``wrong`` labels in colour; below, how many are found."""
    in_order = wrong[np.argsort(values, kind="stable")]
    found, n_wrong = np.cumsum(in_order), int(wrong.sum())
    places = np.arange(1, len(values) + 1)
    figure, (strip, curve) = new_figure(7.2, 4.4, rows=2, sharex=True, height_ratios=(1, 4))
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
def strips(rankings: Mapping[str, np.ndarray], wrong: np.ndarray, name: str, title: str) -> None:
    """One strip for each values [n]: molecules from the lowest value to the highest, ``wrong`` labels in colour."""
    figure, axes = new_figure(6.8, 0.8 + 0.9 * len(rankings), rows=len(rankings), sharex=True)
    said = []
    for strip, (label, values) in zip(axes, rankings.items(), strict=True):
        places = 1 + np.flatnonzero(wrong[np.argsort(values, kind="stable")])
        strip.vlines(places, 0, 1, color=COLOURS["wrong label"], lw=0.5)
        said.append(f"{label}: AUROC {auroc(wrong, -values)[0]:.2f}")
        strip.set(yticks=[], xlim=(0, len(wrong)))
        strip.set_title(said[-1], size=11)
        strip.spines["left"].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", size=12)
    axes[-1].set_xlabel("molecules, lowest value first")
    show(figure, name, f"{title}. {'; '.join(said)}.")


@look()
def selection_curves(table: pd.DataFrame, kind: str, rules: Sequence[str], name: str, title: str) -> None:
    """Test RMSE (``mean``, ``low``, ``high``) against the ``share`` of wrong labels of a kind, one line per ``rule``.

    If no label is wrong, every rule without a row of its own (all but "clean only") keeps all.
    """
    rows = table[table["kind"] == kind]
    no_errors = rows[(rows["share"] == 0) & (rows["rule"] == "keep all")]
    curves = {}
    for rule in rules:
        own = rows[rows["rule"] == rule]
        own = (own if (own["share"] == 0).any() else pd.concat([no_errors, own])).sort_values("share")
        curves[rule] = own.assign(x=100 * own["share"])
    figure, (axes,) = new_figure(7.2, 4.4)
    _curves(axes, curves)
    axes.set(xlabel="wrong labels in the pool / %", ylabel="test RMSE / logD", title=title, ylim=(0, None))
    axes.set_xticks(sorted(100 * rows["share"].unique()))
    label_ends(axes)
    show(figure, name)


@look()
def error_strip(
    rows: Mapping[str, Mapping[str, Sequence[float]]], constants: Mapping[str, float], name: str, title: str
) -> None:
    """Errors (logD) on a line for each row, those of the "report" and "ours"; ``constants``: vertical lines."""
    figure, (axes,) = new_figure(7.2, 1.9 + 0.45 * len(rows))
    for place, points in enumerate(rows.values()):
        for side, values in points.items():
            marker, label = "X" if side == "report" else "o", None if place else side
            axes.scatter(values, [place] * len(values), 60, COLOURS[side], marker, label=label)
    for label, value in constants.items():
        axes.axvline(value, color=COLOURS["other"], ls=":")
        axes.annotate(f"{label} ", (value, -0.7), rotation=35, va="bottom", size=10)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel="test RMSE / logD", ylim=(len(rows) - 0.4, -0.7), xlim=(0.5, None))
    axes.set_title(title, pad=75)
    figure.legend(loc="outside lower center", ncols=2)
    said = [f"{row}, {side} {', '.join(f'{v:.2f}' for v in x)}" for row, p in rows.items() for side, x in p.items()]
    lines = ", ".join(f"{label} {value:.2f}" for label, value in constants.items())
    show(figure, name, f"{title}. Test RMSE in logD: {'; '.join(said)}. Lines: {lines}.")


@look()
def loss_histories(table: pd.DataFrame, names: Mapping[str, str], name: str, title: str) -> None:
    """Losses (logD²) by ``epoch``: a thin line per ``seed`` and the mean; ``names``: ``variant`` -> label."""
    figure, axes = new_figure(7.2, 6.4, rows=2, sharex=True)
    panels = {"train_loss": "Training loss", "validation_loss": "Validation loss"}
    for panel, (column, label) in zip(axes, panels.items(), strict=True):
        for variant, colour in zip(names, (COLOURS["train"], COLOURS["validation"]), strict=True):
            wide = table[table["variant"] == variant].pivot(index="epoch", columns="seed", values=column)
            panel.plot(wide, color=colour, lw=1, alpha=0.7)
            panel.plot(wide.mean(axis=1), color=colour, lw=3, label=names[variant])
        panel.set_title(f"{label}: {table['seed'].nunique()} seeds, and their mean")
        panel.set_ylabel("mean squared error / logD²")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].legend(title=title)
    axes[1].set_xlabel("epoch")
    show(figure, name)


@look()
def rate_curves(table: pd.DataFrame, families: Mapping[str, Sequence[str]], mean_predictor: float, name: str) -> None:
    """Validation RMSE (logD) against the learning rate; ``families``: title of a panel -> its methods, a line for each.

    ``table`` has ``name``, ``rate``, ``validation``, and ``best``: the chosen rate, which has a ring. In the shaded
    region a model is no better than predicting the mean.
    """
    figure, axes = new_figure(7.2, 4.0 * len(families), rows=len(families), sharex=True)
    for panel, (title, methods) in zip(axes, families.items(), strict=True):
        for method, style in styles(methods).items():
            rows = table[table["name"] == method].sort_values("rate")
            chosen = rows[rows["best"]]
            panel.plot(rows["rate"], rows["validation"], lw=1.8, ms=5, label=method, **style)
            panel.plot(chosen["rate"], chosen["validation"], "o", ms=13, mfc="none", mec=style["color"], mew=1.6)
        panel.axhspan(mean_predictor - 0.01, mean_predictor + 0.06, color=COLOURS["other"], alpha=0.15)
        over_line = {"transform": panel.get_yaxis_transform(), "va": "bottom", "size": 9}
        panel.text(0.02, mean_predictor, "no better than predicting the mean", **over_line)
        panel.set(xscale="log", ylabel="validation RMSE / logD", title=title)
        panel.set_ylim(table["validation"].min() - 0.03, mean_predictor + 0.06)
        panel.legend(loc="upper left", bbox_to_anchor=(0, 0.87))
    axes[-1].set(xlabel="learning rate", xlim=(table["rate"].min() / 3, 1.5 * table["rate"].max()))
    said = [f"{row.name}: {row.validation:.2f} at {row.rate:.0e}" for row in table[table["best"]].itertuples()]
    show(figure, name, f"Validation RMSE against the learning rate. Best: {'; '.join(said)}.")


@look()
def seed_variance(gaps: pd.Series, a: str, b: str, name: str) -> None:
    """Test RMSE (logD) of a minus that of b, by seed, and the mean of these gaps as the number of seeds grows."""
    figure, (left, right) = new_figure(7.2, 7.0, rows=2)
    reach = float(gaps.abs().max()) * 1.05
    for side, label, colour in ((gaps < 0, a, COLOURS["better"]), (gaps > 0, b, COLOURS["worse"])):
        text = f"{label} is better: {side.sum()} of {len(gaps)} seeds"
        left.hist(gaps[side], np.linspace(-reach, reach, 17), color=colour, label=text)
    left.axvline(0, color="black", lw=1)
    left.set(xlabel="difference of one seed / logD", ylabel="seeds", title="A single seed may favour either side")
    figure.legend(loc="outside lower center")
    counts = range(3, len(gaps) + 1)
    means = [mean_gap(gaps.iloc[:n]) for n in counts]
    low, high = zip(*(found.interval for found in means), strict=True)
    right.plot(counts, [found.value for found in means], color="black")
    right.fill_between(counts, low, high, color=COLOURS["other"], alpha=0.4)
    right.axhline(0, color="black", lw=1)
    right.set(xlabel="number of seeds", ylabel="mean difference / logD", title="Many seeds: mean and 95 % interval")
    wins = f"{a} is better with {(gaps < 0).sum()} seeds, {b} with {(gaps > 0).sum()}"
    show(figure, name, f"{a} against {b}: {wins}; mean difference {means[-1]}.")
