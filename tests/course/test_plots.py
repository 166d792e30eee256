"""Plots and drawings: the text alternative says what is shown."""

import numpy as np
import pandas as pd
import pytest

from molft_utils.course import drawings, plots
from molft_utils.evaluation import Difference

SWEEP = pd.DataFrame(
    [("full", 1e-3, 0.8, True), ("full", 1e-2, 0.9, False), ("lora", 1e-2, 0.7, True)],
    columns=["name", "rate", "validation", "best"],
)
HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.8], "validation_loss": [1.1, 0.9]})
ERRORS = {"Table 1": {"report": [1.1], "ours": [0.7, 0.8]}}
HISTORIES = pd.concat(
    HISTORY.assign(variant=v, seed=s, train_loss=loss) for s in (0, 1) for v, loss in (("x", 0.8), ("y", 0.6))
)
LABELS = pd.DataFrame(
    {"model": "mini", "labels": [100, 300], "mean": [1.0, 0.8], "low": [0.9, 0.7], "high": [1.1, 0.9]}
)
BOARD = pd.DataFrame({"LDS": [0.3, 0.0], "low": [0.2, -0.1], "high": [0.4, 0.1]}, index=["Gauss-Newton", "random"])
CURVE = np.array([0.0, 1.0, 3.0])
BOTH = pd.DataFrame({"logp": CURVE, "logd": CURVE - 1})
PATHS, ORDERS = np.array([[0.0, 1.0, 3.0], [0.0, -2.0, 3.0]]), np.array([[0, 1], [1, 0]])
TOKENS = ["<bos>", "C", "C", "O", "<eos>"]
WEIGHTS = np.full((5, 5), 0.2) + 0.2 * (np.arange(5) == 3)
MAPS = {"before": np.random.default_rng(0).normal(size=(30, 4))}
MAPS["after"] = MAPS["before"] + 100 * np.arange(30.0)[:, None]

#: Drawing -> parts of its text alternative.
DRAWN = {
    lambda: plots.nearest({"random": CURVE, "scaffold": CURVE / 2}, "a", "T"): ["median 1.00, scaffold: median 0.50"],
    lambda: plots.logp_logd({"neutral": BOTH, "ionisable": BOTH - 1}, "a", "T"): ["logP − logD 1.00; ionisable, 3"],
    lambda: plots.losses({"train": [2.0, 1.0], "y": [3, 4.0]}, "a", "T", "epoch", "MSE", {"g": 2.0}): ["train 1, y 4"],
    lambda: plots.losses({"x": [3.0, 1.0]}, "a", "T", "step", "nats", {}): ["nats against step; last values: x 2"],
    lambda: plots.intervals({"x": (1.0, 0.9, 1.1), "y": (1, 0, 2)}, "a", "T"): ["logD: x 1.00; y 1.00"],
    lambda: plots.intervals({"x": (1.0, 0.9, 1.1)}, "a", "T", unit="pIC50"): ["RMSE in pIC50: x 1.00"],
    lambda: plots.differences({"x": Difference(-0.2, (-0.3, -0.1))}, "a", "T"): ["x -0.200 [-0.300, -0.100]"],
    lambda: plots.label_curves(LABELS, "a", "Few labels"): ["Few labels", "last values: mini 0.8"],
    lambda: plots.halves({"with": 1 + CURVE, "without": np.ones(3)}, 1.8, "a", "T"): ["with 2.33, without 1"],
    lambda: plots.predicted_against_real({"T": (CURVE, 2 * CURVE)}, "a", "x / m", twin=1): ["slope 2.00", "twin 2"],
    lambda: plots.attribution(BOARD, 0.35, 0.8, "a", "T"): ["Gauss-Newton 0.300", "seed 0.350; ceiling 0.800"],
    lambda: plots.error_strip(ERRORS, {"the mean": 1.2}, "a", "T"): ["Table 1, report 1.10", "ours 0.70, 0.80"],
    lambda: plots.loss_histories(HISTORIES, {"x": "without", "y": "with"}, "a", "T"): ["without 0.8, with 0.6"],
    lambda: plots.rate_curves(SWEEP, {"T": ["full", "lora"]}, 1.2, "a"): ["full: 0.80 at 1e-03; lora: 0.70 at 1e-02"],
    lambda: plots.seed_variance(pd.Series([-0.1, 0.2, 0.1, 0.3]), "with", "without", "a"): ["without with 3", "+0.125"],
    lambda: drawings.adapters(dict(full=20, bitfit=2, lora=4, ia3=2), "a"): ["LoRA 4, "],
    lambda: drawings.switching(dict(checkpoint=2 * 10**8, adapter=70_000), "a"): ["200.0 MB", "adapters of 0.1 MB"],
    lambda: drawings.one_line("CCO", TOKENS, 128, "a", "pIC50"): ["5 tokens, a vector of 128", "the head's pIC50"],
    lambda: drawings.attention_map("CCO", TOKENS, WEIGHTS, "a", "T"): ["O (position 3) 2.0"],
    lambda: drawings.embedding_maps(MAPS, np.arange(30.0), "a"): ["after: |correlation with logD| 1.00"],
    lambda: drawings.staircase(PATHS[:1], ORDERS[:1], [3, 0.0], ["A", "B"], 1, "a"): ["adds +2.00. Mean", "A +3.00"],
    lambda: drawings.cholesky_corner(np.tri(4), 2, np.ones(4), np.ones(4), "a"): ["one factorisation 1"],
}  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN)
def test_the_text_alternative_says_what_is_shown(shown, draw):
    draw()
    assert all(text in shown[0] for text in DRAWN[draw]), shown


def test_the_ranked_strip_counts_what_is_found(shown):
    plots.ranked(np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False]), "a", "T")
    assert shown == ["T. 1 of the 2 lowest values belong to wrong labels; by chance it would be 1."]


def test_strips_say_how_well_each_ranking_finds_the_wrong_labels(shown):
    wrong = np.array([True, False, True, False])
    plots.strips({"good": np.array([1, 3, 2, 4]), "reversed": np.array([4, 2, 3, 1])}, wrong, "a", "T")
    assert shown == ["T. good: AUROC 1.00; reversed: AUROC 0.00."]


def test_names_at_the_ends_of_lines_keep_a_distance():
    _, (axes,) = plots.new_figure()
    for label, end in (("high", 1.0), ("low", 0.0), ("as low", 0.001)):
        axes.plot([0, 1], [0, end], label=label)
    plots.label_ends(axes)
    places = {text.get_text(): text.xy[1] for text in axes.texts}
    assert places["low"] == 0 and places["as low"] > 0.05 and places["high"] == 1


def test_if_no_label_is_wrong_every_rule_but_clean_only_keeps_all(shown, monkeypatch):
    rows = [("keep all", 0, 0.7), ("keep all", 0.2, 1), ("clean only", 0, 1.1), ("clean only", 0.2, 1.1)]
    rows += [("loss", 0.2, 0.8)]
    table = pd.DataFrame(rows, columns=["rule", "share", "mean"]).assign(kind="k", low=0.6, high=1.2)
    figures = []
    monkeypatch.setattr(plots, "show", lambda figure, name: figures.append(figure))
    plots.selection_curves(table, "k", ["keep all", "clean only", "loss"], "a", "T")
    containers = figures[0].axes[0].containers
    lines = {line.get_label(): line[0].get_ydata().tolist() for line in containers}
    assert lines == {"keep all": [0.7, 1.0], "clean only": [1.1, 1.1], "loss": [0.7, 0.8]}
    assert containers[2][0].get_color() == plots.COLOURS["loss"]
