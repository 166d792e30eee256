"""Ctrl-C in a cell: the cell run again goes on where it was."""

import signal

import pandas as pd
import pytest

from molft_utils import settings
from molft_utils.experiments import pipeline
from molft_utils.files import data_file
from molft_utils.training.trainer import Progress


def with_lora(cfg):
    return pipeline.after_mlm(cfg, None, "lora")


@pytest.mark.parametrize(
    "train", [pipeline.baseline, pipeline.mlm, with_lora], ids=["02_baseline", "03_mlm", "06_peft_grid"]
)
def test_an_interrupted_training_goes_on(train, tmp_path, monkeypatch):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    pd.read_csv(data_file("logp.csv"))[["smiles", "label"]].head(60).to_csv(tmp_path / "few.csv", index=False)
    cfg = settings("smoke", table=str(tmp_path / "few.csv"), limit=24, epochs=4, mlm_epochs=4)
    if train is with_lora:
        pipeline.mlm(cfg)
    epochs = []

    def watch(self, args, state, control, **kwargs):
        epochs.append(round(state.epoch))
        if epochs == [1, 2, 3]:
            signal.raise_signal(signal.SIGINT)  # what Jupyter's stop button sends to the kernel

    monkeypatch.setattr(Progress, "on_epoch_end", watch)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            train(cfg)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(train(cfg).history) == 4
    assert epochs == [1, 2, 3, 3, 4], "the third epoch was not saved yet"
