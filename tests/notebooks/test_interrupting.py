"""Ctrl-C in a cell: the cell run again goes on where it was."""

import signal

import pandas as pd
import pytest

from molft_utils import settings
from molft_utils.experiments import pipeline
from molft_utils.files import data_file
from molft_utils.training.trainer import Progress


def test_an_interrupted_fit_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    pd.read_csv(data_file("logp.csv"))[["smiles", "label"]].head(60).to_csv(tmp_path / "few.csv", index=False)
    cfg = settings("smoke", table=str(tmp_path / "few.csv"), limit=24, epochs=4)
    epochs = []

    def watch(self, args, state, control, **kwargs):
        epochs.append(round(state.epoch))
        if epochs == [1, 2, 3]:
            signal.raise_signal(signal.SIGINT)  # what Jupyter's stop button sends to the kernel

    monkeypatch.setattr(Progress, "on_evaluate", watch)
    with pytest.raises(KeyboardInterrupt):
        pipeline.baseline(cfg)
    assert len(pipeline.baseline(cfg).history) == 4
    assert epochs == [1, 2, 3, 3, 4], "the third epoch was not saved yet"
