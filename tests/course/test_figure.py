"""Figures: one look that leaves the reader's own settings alone, one colour per thing, files where they can be kept."""

import json

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from molft_utils.course import plots
from molft_utils.course.figure import new_figure, show

READERS_SETTINGS = {"lines.linewidth": 5, "font.size": 22, "axes.titlelocation": "right"}


def draw() -> None:
    """What a notebook's own cell draws."""
    with plots.look():
        figure, (axes,) = new_figure()
        axes.hist(np.arange(9.0), bins=3, label="three bins")
        axes.plot([0, 9], [1, 3], "o-", label="a line")
        axes.set(xlabel="x", ylabel="y", title="A title")
        axes.legend()
        show(figure, "a")


@pytest.mark.parametrize("drawing", [draw, new_figure])
def test_the_readers_settings_are_the_same_before_and_after(shown, drawing):
    with matplotlib.rc_context(READERS_SETTINGS):
        before = dict(matplotlib.rcParams)
        drawing()
        assert dict(matplotlib.rcParams) == before


def test_the_readers_settings_do_not_change_the_picture(shown, tmp_path):
    draw()
    plain = (tmp_path / "figures" / "a.png").read_bytes()
    with matplotlib.rc_context(READERS_SETTINGS):
        draw()
    assert (tmp_path / "figures" / "a.png").read_bytes() == plain
    assert matplotlib.image.imread(tmp_path / "figures" / "a.png").shape[1] >= 1400  # enough for a projector


def test_a_failing_cell_leaves_the_readers_settings_alone():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ValueError), plots.look():
        new_figure()[1][0].plot([1, 2], [1, 2, 3])
    assert dict(matplotlib.rcParams) == before


def test_figures_go_where_the_environment_says_at_the_time(tmp_path, monkeypatch, shown):
    for name in ("first", "second"):
        monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / name))
        draw()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a.png"]


def test_a_figure_that_cannot_be_saved_is_shown_all_the_same(tmp_path, monkeypatch, shown, capsys):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / "a file"))
    draw()
    plots.draw_molecules(["CCO"], ["ethanol"], "b", "Ethanol.")
    assert len(shown) == 2 and capsys.readouterr().out.count("MOLFT_FIGURES") == 1


def test_a_picture_carries_its_text_alternative(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path))
    displayed = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **more: displayed.append((data, more)))
    plots.draw_molecules(["CCO"], ["ethanol"], "a", "Ethanol.")
    ((data, more),) = displayed
    assert data["text/plain"] == more["metadata"]["image/png"]["alt"] == "Ethanol."
    json.dumps(data)


def test_without_words_of_its_own_a_figure_says_its_title_axes_and_last_values(shown):
    draw()
    assert shown == ["A title: y against x; last values: a line 3."]


FAMILIES = {
    "splits": ("train", "validation", "test"),
    "methods": ("full", "bitfit", "lora", "lora-all", "ia3"),
    "rules": (
        "keep all",
        "clean only",
        "random",
        "loss",
        "leave-one-out residual",
        "influence",
        "TS-DShapley",
        "oracle",
    ),
    "models": ("mini", "mini-descriptors", "random weights", "SVR on ECFP4", "random forest on ECFP4"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_of_one_family_differ_in_colour_for_every_kind_of_colour_vision(family):
    # Protanopia and deuteranopia: Viénot, Brettel and Mollon 1999, on linear RGB.
    kinds = {
        "usual": np.eye(3),
        "protanopia": np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.004, -0.004, 1]]),
        "deuteranopia": np.array([[0.2928, 0.7072, 0], [0.2928, 0.7072, 0], [-0.0223, 0.0223, 1]]),
    }
    linear = np.array([to_rgb(plots.COLOURS[name]) for name in FAMILIES[family]]) ** 2.2
    for kind, matrix in kinds.items():
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 10 * np.eye(len(seen))
        assert apart.min() > 0.12, (kind, apart.round(2))


def test_a_variant_has_its_method_s_colour_and_a_line_of_its_own():
    found = plots.styles(["lora-all, r = 4", "lora-all, r = 16", "lora, r = 4", "an unknown model"])
    colours, lines = ([style[key] for style in found.values()] for key in ("color", "ls"))
    assert colours == [*2 * [plots.COLOURS["lora-all"]], plots.COLOURS["lora"], plots.COLOURS["other"]]
    assert (
        lines[0] != lines[1]
        and plots.colour_of("SVR on descriptors without logP") == plots.COLOURS["SVR on descriptors"]
    )
