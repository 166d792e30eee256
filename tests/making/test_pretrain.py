"""Pretraining the mini checkpoint: batches, budget, resuming, and a second start."""

from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import load_file

from molft_utils import CheckpointError, load_model
from molft_utils.making import pretrain

SMILES = [f"{'C' * i}{tail}" for i in range(1, 30) for tail in ("O", "N", "c1ccccc1")]


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A tiny model on a few molecules, without the packages that `make mini` downloads."""
    monkeypatch.setattr(pretrain, "corpus", lambda *args: pretrain.tokenise(SMILES * 4))
    monkeypatch.setattr(pretrain, "excluded_molecules", set)
    monkeypatch.setattr(
        pretrain, "MINI", dict(pretrain.MINI, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    )
    folders = ["--run-folder", str(tmp_path / "run"), "--output", str(tmp_path / "made"), "--tokens-per-batch", "256"]
    return lambda *more: pretrain.pretrain(pretrain.arguments([*folders, *more]))


def test_batches_hold_every_molecule_once_and_little_padding():
    sequences = pretrain.tokenise(SMILES * 10)
    batches = pretrain.TokenBatches(sequences, 512, seed=0)
    assert sorted(np.concatenate(batches.batches)) == list(range(len(sequences)))
    sizes = [(len(b), max(len(sequences[i]) for i in b), sum(len(sequences[i]) for i in b)) for b in batches.batches]
    assert all(n * longest <= 512 for n, longest, _ in sizes)
    assert sum(tokens for _, _, tokens in sizes) / sum(n * longest for n, longest, _ in sizes) > 0.95


def test_molecules_that_the_model_cannot_read_are_left_out():
    assert len(pretrain.tokenise(["CCO", "C" * 200, "[Re]$[Re]"])) == 1


def test_a_run_stops_at_its_budget_and_resumes(small, tmp_path, capsys):
    small("--minutes", "0")
    assert "stopped by the time budget at step 1" in capsys.readouterr().out and not (tmp_path / "made").exists()
    small()
    resumed = load_file(tmp_path / "made" / "model.safetensors")
    assert load_model(tmp_path / "made", task="mlm").config.hidden_size == 16
    assert all(np.isfinite(t.numpy()).all() for t in resumed.values())


def test_no_batch_is_dropped_where_several_are_collated(small, monkeypatch):
    seen = {}
    monkeypatch.setattr(pretrain, "Trainer", lambda **options: seen.update(options) or Stopped())
    small()
    first, second = seen["train_dataset"][0], seen["train_dataset"][1]
    assert len(seen["data_collator"]([first, second])["input_ids"]) == len(first) + len(second)
    seen["args"]._n_gpu = 2
    assert seen["args"].train_batch_size == 1


class Stopped:
    """A Trainer that trains nothing."""

    state = SimpleNamespace(global_step=0)

    def train(self, **options):
        pass


def test_a_run_with_other_arguments_is_not_mixed_in(small):
    small("--minutes", "0")
    with pytest.raises(CheckpointError, match="other settings or data"):
        small("--seed", "1")


def test_a_second_start_goes_on_from_the_weights(small, tmp_path):
    small()
    first = load_file(tmp_path / "made" / "model.safetensors")
    args = ["--run-folder", str(tmp_path / "again"), "--init", str(tmp_path / "made"), "--learning-rate", "1e-9"]
    small(*args)
    second = load_file(tmp_path / "made" / "model.safetensors")
    assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)
