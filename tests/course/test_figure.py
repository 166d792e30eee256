"""Figures: one look that leaves the reader's own settings alone, one colour per thing, files where they can be kept."""

import json
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from molft_utils.course import plots
from molft_utils.course.figure import new_figure, show
from molft_utils.settings import EVERY_METHOD

READERS_SETTINGS = {"lines.linewidth": 5, "font.size": 22, "axes.titlelocation": "right"}


def draw(name: str = "a") -> None:
    """What a notebook's own cell draws."""
    with plots.look():
        figure, (axes,) = new_figure()
        axes.hist(np.arange(9.0), bins=3, label="three bins")
        axes.plot([0, 9], [1, 3], "o-", label="a line")
        axes.set(xlabel="x", ylabel="y", title="A title")
        axes.legend()
        show(figure, name)


def test_a_figure_neither_changes_nor_obeys_the_readers_settings(shown, tmp_path):
    draw()
    plain = (tmp_path / "figures" / "a.png").read_bytes()
    with matplotlib.rc_context(READERS_SETTINGS):
        before = dict(matplotlib.rcParams)
        draw()
        with pytest.raises(ValueError), plots.look():  # nor does a cell that fails
            new_figure()[1][0].plot([1, 2], [1, 2, 3])
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "figures" / "a.png").read_bytes() == plain


def test_a_figure_that_cannot_be_saved_is_shown_all_the_same(tmp_path, monkeypatch, shown):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / "a file"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        draw("one")
        draw("another")
    assert len(shown) == 2 and len(said) == 1 and "MOLFT_FIGURES" in str(said[0].message)


def test_a_picture_carries_its_text_alternative(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path))
    displayed = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **more: displayed.append((data, more)))
    plots.draw_molecules(["CCO"], ["ethanol"], "a", "Ethanol.")
    ((data, more),) = displayed
    assert data["text/plain"] == more["metadata"]["image/png"]["alt"] == "Ethanol."
    json.dumps(data)


def test_the_atoms_of_a_scaffold_are_coloured(shown, tmp_path):
    n_orange = []
    for scaffolds in ((), [(0, 1)]):
        plots.draw_molecules(["CCO"], ["ethanol"], "a", "Ethanol.", 1, scaffolds)
        red, green, blue = np.array(Image.open(tmp_path / "figures" / "a.png").convert("RGB"), dtype=int).T
        n_orange.append(int(((red > green + 30) & (green > blue + 60)).sum()))
    assert n_orange[0] == 0 and n_orange[1] > 500


def test_without_words_of_its_own_a_figure_says_its_title_axes_and_last_values(shown):
    draw()
    assert shown == ["A title: y against x; last values: a line 3."]


SPLITS = "train, validation, test"
METHODS = ", ".join(EVERY_METHOD)
RULES = "keep all, clean only, random, loss, leave-one-out residual, influence, TS-DShapley, oracle"
MODELS = "mini, mini-descriptors, random weights, SVR on ECFP4, random forest on ECFP4"


@pytest.mark.parametrize("family", [SPLITS, METHODS, RULES, MODELS])
def test_names_of_one_family_differ_in_colour_for_every_kind_of_colour_vision(family):
    # Protanopia and deuteranopia: Viénot, Brettel and Mollon 1999, on linear RGB.
    kinds = {
        "usual": np.eye(3),
        "protanopia": np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]]),
        "deuteranopia": np.array([[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]]),
    }
    linear = np.array([to_rgb(plots.COLOURS[name]) for name in family.split(", ")]) ** 2.2
    for kind, matrix in kinds.items():
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 10 * np.eye(len(seen))
        assert apart.min() > 0.12, (kind, apart.round(2))


def test_a_variant_has_its_method_s_colour_and_a_line_of_its_own():
    found = plots.styles(["lora-all, r = 4", "lora-all, r = 16", "lora, r = 4", "an unknown model"])
    colours, lines = ([style[key] for style in found.values()] for key in ("color", "ls"))
    assert colours == [*2 * [plots.COLOURS["lora-all"]], plots.COLOURS["lora"], plots.COLOURS["other"]]
    assert lines[0] != lines[1]
    assert plots.colour_of("SVR on descriptors without logP") == plots.COLOURS["SVR on descriptors"]
