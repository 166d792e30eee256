"""Figures: one look, which leaves the reader's own settings alone; files where the environment says."""

import json
import warnings

import matplotlib
import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from molft_utils.course import boxes, plots
from molft_utils.course.figure import new_figure, show


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / "figures"))
    return tmp_path / "figures"


@pytest.fixture
def readers_settings():
    """Settings of a reader with a taste of his own."""
    with matplotlib.rc_context({"lines.linewidth": 5, "font.size": 22, "axes.titlelocation": "right"}):
        yield dict(matplotlib.rcParams)


HISTORY = pd.DataFrame({"epoch": [1, 2], "train_loss": [1.0, 0.8], "validation_loss": [1.1, 0.9]})
SWEEP = pd.DataFrame(
    [("full", 4, 1e-3, 0.8, True), ("full", 4, 1e-2, 0.9, False), ("lora", 4, 1e-2, 0.7, True)],
    columns=["name", "epochs", "rate", "validation", "best"],
)
DRAWN = {
    "learning_curve": lambda: plots.learning_curve(HISTORY, "a", "A title", {"the mean": 1.2}),
    "scatter": lambda: plots.predicted_against_measured([0.0, 1.0, 2.0], [0.1, 1.0, 1.8], "a", "A title"),
    "intervals": lambda: plots.intervals({"x": (1.0, 0.9, 1.1)}, "a", "A title", {"x": 0.9}),
    "rates": lambda: plots.rate_curves(SWEEP, 1.2, "a"),
    "luck": lambda: plots.luck(pd.Series([-0.1, 0.2, 0.1, 0.3]), "with", "without", "a"),
    "adapters": lambda: boxes.adapters(dict(full=20, bitfit=2, lora=4, ia3=2), "a"),
    "switching": lambda: boxes.switching(dict(checkpoint=200_000_000, adapter=70_000), "a"),
    "molecules": lambda: plots.draw_molecules(["CCO"], ["ethanol"], "a", "Ethanol."),
}


def notebook_cell() -> None:
    """What a notebook's own cell draws on the axes."""
    with plots.look():
        figure, (axes,) = new_figure()
        axes.hist(np.arange(9.0), bins=3, label="three bins")
        axes.plot([0, 9], [1, 3], "o-")
        axes.set(xlabel="x", ylabel="y", title="A title")
        axes.annotate("here", (1, 1))
        axes.legend()
        figure.suptitle("above")
        show(figure, "a", "A histogram.")


@pytest.mark.parametrize("draw", [*DRAWN.values(), notebook_cell, new_figure], ids=[*DRAWN, "cell", "new_figure"])
def test_the_readers_settings_are_the_same_before_and_after(folder, readers_settings, draw):
    draw()
    assert dict(matplotlib.rcParams) == readers_settings


@pytest.mark.parametrize("draw", [DRAWN["learning_curve"], notebook_cell], ids=["learning_curve", "cell"])
def test_the_readers_settings_do_not_change_the_picture(folder, draw):
    draw()
    plain = (folder / "a.png").read_bytes()
    with matplotlib.rc_context({"lines.linewidth": 5, "font.size": 22, "axes.titlelocation": "right"}):
        draw()
    assert (folder / "a.png").read_bytes() == plain


def test_a_failing_cell_leaves_the_readers_settings_alone(readers_settings):
    with pytest.raises(ValueError), plots.look():
        _, (axes,) = new_figure()
        axes.plot([1, 2], [1, 2, 3])
    assert dict(matplotlib.rcParams) == readers_settings


def test_the_look_of_the_axes():
    with plots.look():
        figure, (axes,) = new_figure()
        (line,) = axes.plot([1, 2])
        axes.set(title="A title")
    assert line.get_linewidth() == 1.5 and line.get_color() == plots.COLOURS["train"]
    assert not axes.spines["top"].get_visible() and axes.get_title(loc="left") == "A title"
    assert figure.get_constrained_layout()


def test_figures_go_where_the_environment_says_at_the_time(tmp_path, monkeypatch, capsys):
    for name in ("first", "second"):
        monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / name))
        notebook_cell()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["a.png"]
        assert (tmp_path / name / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_carries_its_text_alternative(folder, monkeypatch):
    displayed = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **more: displayed.append((data, more)))
    DRAWN["molecules"]()
    ((data, more),) = displayed
    assert data["text/plain"] == "Ethanol." and more["metadata"]["image/png"]["alt"] == "Ethanol."
    json.dumps(data)


ALTS = {
    "rates": ["full, 4 epochs: 0.80 at 1e-03", "lora, 4 epochs: 0.70 at 1e-02"],
    "luck": ["with wins with 1 seeds, without with 3", "mean difference +0.125"],
    "adapters": ["LoRA trains 4", "BitFit: b alone"],
    "switching": ["200.0 MB with three adapters of 70 kB"],
}


@pytest.mark.parametrize("name", ALTS)
def test_the_alternative_text_says_what_the_picture_shows(folder, monkeypatch, name):
    said = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **rest: said.append(data["text/plain"]))
    DRAWN[name]()
    assert all(text in said[0] for text in ALTS[name]), said


@pytest.mark.parametrize("draw", [draw for name, draw in DRAWN.items()], ids=list(DRAWN))
def test_a_figure_is_wide_enough_for_a_projector_and_no_text_is_cut(folder, draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Matplotlib 3.10 calls pyparsing 3.3 by names that it calls old: nothing that a figure could do otherwise.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        draw()
    assert matplotlib.image.imread(folder / "a.png").shape[1] >= 1400


def test_a_text_over_the_edge_is_named(folder):
    with plots.look():
        figure, (axes,) = new_figure()
        axes.set_title(
            "a title that is much longer than the figure is wide, so that its end cannot be read by anyone at all"
        )
        with pytest.warns(UserWarning, match="cut off at the edge: a title that"):
            show(figure, "a", "A title.")
