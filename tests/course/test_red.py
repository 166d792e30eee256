import numpy as np
import pytest

from molft_utils import check
from molft_utils.course import plots


def test_a_figure_that_cannot_be_kept_is_shown_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("MOLFT_FIGURES", str(tmp_path / "a file"))
    shown = []
    monkeypatch.setattr("molft_utils.course.figure.display", lambda data, **more: shown.append(data))
    for _ in range(2):
        plots.draw_molecules(["CCO"], ["ethanol"], "a", "Ethanol.")
    assert len(shown) == 2 and capsys.readouterr().out.count("MOLFT_FIGURES") == 1


@pytest.mark.parametrize("answer", [None, np.zeros((4, 3)), "mine"], ids=["None", "transposed", "text"])
def test_one_answer(capsys, answer):
    check("04.3", answer, 3, 4)
    word = capsys.readouterr().out
    assert word.startswith("04.3: not yet: ") and "[3, 4]" in word and word.count("\n") == 1
