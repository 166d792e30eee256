"""Results of record that were damaged: the file is named with the remedy."""

import pandas as pd
import pytest

from molft_utils import DataError
from molft_utils.evaluation import records


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A table of one run, with its predictions."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    predictions = pd.DataFrame({"smiles": ["C"], "label": [1.0], "seed 0": [2.0]})
    records.add("luck", {"seed": 0}, {"rmse": 0.7}, {"a": 1}, predictions)
    return tmp_path


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"seed,rmse\n1,2,3,4\n1,2\n1,2,3,4,5\n", b'"'])
def test_a_damaged_table_is_named_and_never_written_over(recorded, content):
    for name in ("luck.csv", "luck_predictions.csv"):
        whole = (recorded / name).read_bytes()
        (recorded / name).write_bytes(content)
        predictions = pd.DataFrame({"smiles": ["C"], "label": [1.0], "seed 1": [2.0]})
        with pytest.raises(DataError, match=rf"{name} is damaged .*git checkout"):
            records.add("luck", {"seed": 1}, {"rmse": 0.8}, {"a": 1}, predictions)
        assert (recorded / name).read_bytes() == content
        (recorded / name).write_bytes(whole)
    (recorded / "luck.csv").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        records.read("luck")


@pytest.mark.parametrize("inputs", ["no JSON", "", "[1]"])
def test_a_row_without_readable_inputs_is_run_again(recorded, inputs, capsys):
    rows = pd.read_csv(recorded / "luck.csv").assign(inputs=inputs)
    rows.to_csv(recorded / "luck.csv", index=False)
    assert not records.is_recorded("luck", {"seed": 0}, {"a": 1})
    assert "luck, seed 0: its inputs are damaged; running it again" in capsys.readouterr().out
