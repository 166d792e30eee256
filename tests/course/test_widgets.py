"""Widgets: what their callbacks say when a slider, a menu or a text changes."""

import numpy as np
import pandas as pd
import torch

from molft_utils import load_model
from molft_utils.course import widgets
from molft_utils.molformer import attention_weights

PATHS, ORDERS = np.array([[0.0, 1.0, 3.0], [0.0, -2.0, 3.0]]), np.array([[0, 1], [1, 0]])


def moved(shown, value):
    """Move the last slider or menu that was shown."""
    interactive = next(one for one in reversed(shown) if hasattr(one, "children"))
    interactive.children[0].value = value


def test_the_slider_walks_through_the_permutations_to_the_means(shown, capsys):
    widgets.permutation_slider(PATHS, ORDERS, ["A", "B"], "a")
    assert shown[-1].endswith("A 3, B 0.")
    moved(shown, 2)
    assert "permutation 2: B, then A" in capsys.readouterr().out
    assert shown[-1]["adds here"].tolist() == [5, -2] and shown[-1]["mean so far"].tolist() == [3, 0]
    moved(shown, 1)  # ipywidgets 7 draws nothing before the slider is on a page
    assert "permutation 1: A, then B" in capsys.readouterr().out


def test_any_molecule_is_answered_by_each_model_and_a_wrong_one_is_named(shown, capsys):
    known = pd.DataFrame({"smiles": ["CCO", "CCCO", "c1ccccc1", "CCN"], "label": [0.0, 1.0, 2.0, 3.0]})
    predictors = {"length": lambda smiles: np.array([float(len(s)) for s in smiles])}
    widgets.any_molecule(predictors, known, "CCCCO", "a", unit="logS")
    assert "predicted logS: length 5.00" in shown[-1]
    moved(shown, "c1ccccc1C")
    assert "tokens: C c 1 c c c c c 1" in capsys.readouterr().out
    assert shown[-1]["smiles"].iloc[0] == "c1ccccc1" and shown[-2].loc["length", "predicted logS"] == 9
    moved(shown, "c1ccccc")
    assert "c1ccccc" in capsys.readouterr().out


def test_lissa_diverges_below_half_the_largest_eigenvalue(shown, capsys):
    exact = np.array([1.0, 1.0])

    def run(scale):  # each step multiplies the error by 1 - 1 / scale
        return exact + np.outer((1 - 1 / scale) ** np.arange(1, 31), [0.5, 0.0])

    widgets.scale_slider(run, exact, "a")
    for scale, word in ((0.4, "diverges"), (2.0, "converges")):
        moved(shown, scale)
        assert word in capsys.readouterr().out


def test_any_token_can_be_masked(shown, capsys):
    model = load_model("mini", task="mlm")
    widgets.fill_mask_menu({"before": model, "after": model}, "CCO", "a", "T")
    assert "each place of CCO: before C " in shown[-1] and "; after C " in shown[-1]
    moved(shown, 2)
    assert "C C <mask>" in capsys.readouterr().out


def test_attention_weights_reproduce_the_layer_s_output():
    model = load_model("mini", task="encoder")
    layer, seen = model.encoder.layer[0].attention.self, {}
    hook = layer.register_forward_hook(lambda m, args, out: seen.update(hidden=args[0], rotary=args[2], out=out))
    with torch.no_grad():
        model(input_ids=torch.tensor([[0, 4, 4, 5, 1]]))
        hook.remove()
        values = layer.value(seen["hidden"]).unflatten(-1, (layer.n_heads, -1)).transpose(1, 2)
        by_pairs = attention_weights(layer, seen["hidden"], seen["rotary"]) @ values
    assert torch.allclose(by_pairs.transpose(1, 2).flatten(-2), seen["out"], atol=1e-5)
