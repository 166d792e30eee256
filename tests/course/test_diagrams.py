"""Pictures of ideas, and of values: they say what they show."""

import numpy as np
import pandas as pd
import pytest
import torch

from molft_utils import load_model
from molft_utils.molformer import attention_weights
from molft_utils.course import chemistry, diagrams, plots, widgets
from molft_utils.training import attention

ORDERS = np.array([[0, 1], [1, 0]])
PATHS = np.array([[0.0, 1.0, 3.0], [0.0, -2.0, 3.0]])


@pytest.fixture(autouse=True)
def drawn(tmp_path, monkeypatch, capsys):
    """What was shown: text alternatives of figures, and what was printed."""
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path))
    shown = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **rest: shown.append(data["text/plain"]))
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


def moved(drawn, value):
    """Move the last slider or menu that was shown."""
    interactive = next(shown for shown in reversed(drawn) if hasattr(shown, "children"))
    interactive.children[0].value = value


def test_any_molecule_is_answered_by_each_model_and_a_wrong_one_is_named(drawn, capsys):
    known = pd.DataFrame({"smiles": ["CCO", "CCCO", "c1ccccc1", "CCN"], "label": [0.0, 1.0, 2.0, 3.0]})
    predictors = {"length": lambda smiles: np.array([float(len(s)) for s in smiles])}
    widgets.any_molecule(predictors, known, "CCCCO", "any")
    assert "predicted logD length 5.00" in drawn[-1]
    moved(drawn, "c1ccccc1C")
    assert "tokens: C c 1 c c c c c 1" in capsys.readouterr().out
    assert drawn[-1]["smiles"].iloc[0] == "c1ccccc1" and drawn[-2].loc["length", "predicted logD"] == 9
    moved(drawn, "c1ccccc")
    assert "c1ccccc" in capsys.readouterr().out


def test_the_scale_explodes_below_half_the_largest_eigenvalue(drawn, capsys):
    exact = np.array([1.0, 1.0])

    def run(scale):  # the error of each step is the one before times 1 - 1 / scale
        return exact + np.outer((1 - 1 / scale) ** np.arange(1, 301), [0.5, 0.0])

    widgets.scale_slider(run, exact, "scale")
    moved(drawn, 0.4)
    assert "it explodes" in capsys.readouterr().out
    moved(drawn, 2.0)
    assert "it comes nearer" in capsys.readouterr().out


def test_the_damping_moves_wrong_labels(drawn, capsys):
    wrong = np.array([True, True, False, False])
    widgets.damping_slider({0.01: np.array([0, 1, 2, 3]), 1.0: np.array([3, 2, 1, 0])}, wrong, "damping")
    assert drawn[-1].endswith("0.01 1.00, 1 0.00.")
    moved(drawn, 1.0)
    assert "among the 2 lowest 0 are wrong; AUROC 0.000" in capsys.readouterr().out


def test_a_cell_shows_its_curve_and_its_worst_molecules(drawn):
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.7]})
    test = pd.DataFrame({"smiles": list("ABCDE"), "label": [0.0] * 5})
    cells = {"full": (history, np.arange(5.0)), "lora": (history.assign(train_loss=0.9), -(np.arange(5.0) ** 2))}
    widgets.cell_menu(cells, test, "cells")
    assert drawn[-1].endswith("full 0.70, lora 0.90.")
    moved(drawn, "lora")
    assert drawn[-1]["smiles"].tolist() == list("EDCB") and drawn[-2].loc["train_loss"].tolist() == [0.9, 0.9]


def test_attention_is_what_the_layer_averages_with():
    model = load_model("mini", task="encoder")
    tokens, weights = attention(model, "CCO")
    assert tokens == ["<bos>", "C", "C", "O", "<eos>"] and np.allclose(weights.sum(axis=1), 1, atol=1e-5)
    layer, seen = model.encoder.layer[0].attention.self, {}
    hook = layer.register_forward_hook(lambda m, args, out: seen.update(hidden=args[0], rotary=args[2], out=out))
    with torch.no_grad():
        model(input_ids=torch.tensor([[0, 4, 4, 5, 1]]))
        hook.remove()
        values = layer.value(seen["hidden"]).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2)
        by_pairs = attention_weights(layer, seen["hidden"], seen["rotary"]) @ values
    assert torch.allclose(by_pairs.transpose(1, 2).flatten(-2), seen["out"], atol=1e-5)


def test_pictures_of_molecules_say_what_they_show(drawn):
    chemistry.one_line("CCO", ["<bos>", "C", "C", "O", "<eos>"], 128, -0.31, "line")
    assert "5 tokens, a vector of 128 numbers" in drawn[-1] and "logD of -0.31" in drawn[-1]
    weights = np.full((5, 5), 0.2)
    weights[:, 3] += 0.2
    chemistry.attention_map("CCO", ["<bos>", "C", "C", "O", "<eos>"], weights, "attention", "title")
    assert "Most looked at: O (place 3) 2.0" in drawn[-1]
    labels = np.arange(30.0)
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    chemistry.embedding_maps({"before": vectors, "after": vectors + 100 * labels[:, None]}, labels, "map")
    assert drawn[-1].endswith("after 1.00.")
