"""Folders of interrupted runs that were damaged, are in use or cannot be written; memory that runs out; no network."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import set_seed

from molft_utils import (
    BatchTooLargeError,
    CheckpointError,
    DataError,
    StorageError,
    finetune,
    load_lipophilicity,
    load_model,
    predict,
    pretrain_mlm,
    settings,
)
from molft_utils.influence import influence_scores
from molft_utils.molformer import MolformerConfig, MolformerForMaskedLM, MolformerForSequenceClassification
from molft_utils.training.run_folder import alone_in, resume_point
from molft_utils.training.trainer import Progress

SMILES = [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]
TABLE = pd.DataFrame({"smiles": SMILES, "label": [10 + 0.5 * s.count("C") - 2 * s.count("O") for s in SMILES]})
TRAIN, VALIDATION = TABLE.iloc[::2], TABLE.iloc[1::2]


class Stop(Exception):
    pass


TINY = dict(
    vocab_size=2362, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
    num_random_features=10, num_labels=1, redraw_in_training=False,
)  # fmt: skip
SETTINGS = settings("smoke", learning_rate=0.03, epochs=3)


@pytest.fixture
def cfg():
    return SETTINGS


def model() -> MolformerForSequenceClassification:
    """A tiny model, the same each time."""
    set_seed(0)
    return MolformerForSequenceClassification(MolformerConfig(**TINY, problem_type="regression"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that was stopped after the second of three epochs."""

    def stop(self, args, state, control, **kwargs):
        if state.epoch > 2.5:
            raise Stop

    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Progress, "on_evaluate", stop)
        finetune(model(), TRAIN, VALIDATION, SETTINGS, folder)
    return folder


@pytest.fixture
def interrupted(stopped, tmp_path):
    """A copy of it."""
    return shutil.copytree(stopped, tmp_path / "run")


NEWEST = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


@pytest.mark.parametrize("name", NEWEST)
def test_a_damaged_checkpoint_is_passed_over(interrupted, name, damage, capsys):
    first, second = sorted(interrupted.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    stamp = interrupted / "run.json"
    if name == "trainer_state.json" and damage.__name__ == "flip_a_bit":
        (second / name).write_bytes(b"\xff" + (second / name).read_bytes())  # a flipped digit cannot be seen
    else:
        damage(second / name)
    assert resume_point(interrupted, json.loads(stamp.read_text())) == str(first)
    assert not second.exists()


def test_a_run_goes_on_from_an_earlier_epoch_to_the_same_end(interrupted, cfg, capsys):
    newest = max(interrupted.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "optimizer.pt").write_bytes(b"")
    resumed = finetune(model(), TRAIN, VALIDATION, cfg, interrupted)
    whole = finetune(model(), TRAIN, VALIDATION, cfg)
    assert "is damaged; an earlier epoch is gone on from" in capsys.readouterr().out
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    np.testing.assert_allclose(predict(resumed.model, SMILES), predict(whole.model, SMILES), atol=1e-6)


@pytest.mark.parametrize("content", ["{", "[]", "\xff", ""])
def test_a_damaged_stamp_is_named(interrupted, cfg, content):
    (interrupted / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"other settings or data; choose another output_dir or delete it"):
        finetune(model(), TRAIN, VALIDATION, cfg, interrupted)


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_planted_pickle_is_refused_and_not_run(interrupted, cfg, name, tmp_path):
    class Planted:
        def __reduce__(self):
            return open, (str(tmp_path / "it ran"), "w")

    newest = max(interrupted.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    torch.save({"state": Planted()}, newest / name)
    (newest / "SHA256SUMS").unlink()  # whoever plants a pickle plants a checksum, too
    with pytest.raises(CheckpointError, match="holds a file that is no plain tensor, and is not read; delete it"):
        finetune(model(), TRAIN, VALIDATION, cfg, interrupted)
    assert not (tmp_path / "it ran").exists()


def test_a_folder_in_which_another_process_trains_is_refused(cfg, tmp_path):
    with alone_in(tmp_path / "run"), pytest.raises(CheckpointError, match=r"another process trains in .*run; wait"):
        finetune(model(), TRAIN, VALIDATION, cfg, tmp_path / "run")
    finetune(model(), TRAIN, VALIDATION, cfg.replace(epochs=1), tmp_path / "run")


def test_a_disk_that_fills_up_while_it_trains_is_named_and_the_run_goes_on(disk, cfg):
    with pytest.raises(StorageError, match=r"disk/run.* cannot be written: .*Free some space there, or choose another"):
        finetune(model(), TRAIN, VALIDATION, cfg, disk.folder / "run")
    assert disk.mount("remount,size=9m")
    resumed, whole = (finetune(model(), TRAIN, VALIDATION, cfg, place) for place in (disk.folder / "run", None))
    pd.testing.assert_frame_equal(resumed.history, whole.history)


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def exhausted(monkeypatch):
    """Models of which a batch of more than eight molecules asks torch for more memory than any machine has."""
    for kind in (MolformerForSequenceClassification, MolformerForMaskedLM):

        def greedy(self, input_ids, *args, _forward=kind.forward, **inputs):
            torch.empty(2**48 if len(input_ids) > 8 else 0, dtype=torch.float64)
            return _forward(self, input_ids, *args, **inputs)

        monkeypatch.setattr(kind, "forward", greedy)


def test_memory_that_a_batch_exhausts_is_named_with_the_setting_to_make_smaller(exhausted, cfg):
    fit_model = model().eval()
    lm = MolformerForMaskedLM(MolformerConfig(**TINY))
    for work, remedy in (
        (lambda: finetune(model(), TRAIN, VALIDATION, cfg.replace(batch_size=16)), "make batch_size smaller.*=8"),
        (lambda: pretrain_mlm(lm, SMILES, cfg.replace(mlm_batch_size=12)), "make mlm_batch_size smaller.*=6"),
        (lambda: predict(fit_model, SMILES, batch_size=9), "9 molecules; make batch_size smaller.*=4"),
        (
            lambda: influence_scores(fit_model, *[TRAIN] * 3, cfg.replace(influence_batch_size=16)),
            "influence_batch_size",
        ),
    ):
        with pytest.raises(BatchTooLargeError, match=f"memory is exhausted by a batch of .*{remedy}"):
            work()
    assert len(predict(fit_model, SMILES, batch_size=8)) == len(SMILES)


def test_other_faults_of_torch_are_not_taken_for_exhausted_memory(monkeypatch):
    def wrong(self, *args, **inputs):
        torch.zeros(2) @ torch.zeros(3)

    monkeypatch.setattr(MolformerForSequenceClassification, "forward", wrong)
    with pytest.raises(RuntimeError, match="size"):
        predict(model(), SMILES)


def test_without_a_network_the_hubs_model_and_table_are_named(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # nothing was downloaded before
    for switch in ("huggingface_hub.constants", "datasets.config"):
        monkeypatch.setattr(f"{switch}.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(CheckpointError, match="ibm-research/MoLFormer-XL-both-10pct cannot be loaded"):
        load_model("xl")
    with pytest.raises(
        DataError, match=r"MoleculeNet_Lipophilicity cannot be loaded from the hub .*; check the network"
    ):
        load_lipophilicity("hub")
