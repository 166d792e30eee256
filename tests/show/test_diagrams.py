"""Pictures of ideas, and of values: they say what they show."""

import numpy as np
import pandas as pd
import pytest

from molft_utils.show import diagrams, plots, widgets

ORDERS = np.array([[0, 1], [1, 0]])
PATHS = np.array([[0.0, 1.0, 3.0], [0.0, -2.0, 3.0]])


@pytest.fixture(autouse=True)
def drawn(tmp_path, monkeypatch, capsys):
    """What was shown: text alternatives of figures, and what was printed."""
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path))
    shown = []
    monkeypatch.setattr("molft_utils.show.figure.display", lambda data, **rest: shown.append(data["text/plain"]))
    monkeypatch.setattr(widgets, "display", shown.append)
    return shown


def test_the_steps_of_the_marked_player_stand_out(drawn):
    diagrams.staircase(PATHS, ORDERS, ["A", "B"], 1, "stairs")
    assert drawn[-1].endswith("B adds +2.00, -2.00.")


def test_the_slider_walks_through_the_orders_to_the_means(drawn, capsys):
    widgets.permutation_slider(PATHS, ORDERS, ["A", "B"], "orders")
    assert drawn[-1].endswith("at the end A +3.00, B +0.00.")
    interactive = next(shown for shown in drawn if hasattr(shown, "children"))
    interactive.children[0].value = 2
    assert "order 2: B, then A" in capsys.readouterr().out
    assert drawn[-1]["adds here"].tolist() == [5, -2] and drawn[-1]["mean so far"].tolist() == [3, 0]


def test_the_ranked_strip_counts_what_is_found(drawn):
    values, marked = np.array([0.1, 0.2, 0.3, 0.4]), np.array([True, False, True, False])
    plots.ranked(values, marked, "ranked", "title")
    assert drawn[-1] == "title. Of the 2 lowest values 1 have wrong labels, by chance 1."


def test_where_no_label_is_wrong_every_rule_keeps_all_but_the_trusted(drawn, monkeypatch):
    rows = [
        ("keep all", 0, 0.7),
        ("keep all", 0.2, 1),
        ("trusted only", 0, 1.1),
        ("trusted only", 0.2, 1.1),
        ("loss", 0.2, 0.8),
    ]
    table = pd.DataFrame(rows, columns=["rule", "share", "mean"]).assign(kind="k", low=0.6, high=1.2)
    figures, new_figure = [], plots.choosing.new_figure
    monkeypatch.setattr(plots.choosing, "new_figure", lambda *size: figures.append(new_figure(*size)) or figures[-1])
    plots.selection_curves(table, "k", ["keep all", "trusted only", "loss"], "curves", "title")
    (axes,) = figures[0][1]
    lines = {line.get_label(): line[0].get_ydata().tolist() for line in axes.containers}
    assert lines == {"keep all": [0.7, 1.0], "trusted only": [1.1, 1.1], "loss": [0.7, 0.8]}
