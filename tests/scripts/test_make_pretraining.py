"""Pretraining the small checkpoints: corpus, batches, descriptors, resuming, and a second start."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

import corpus
import pretraining
from molft_utils import load_model
from molft_utils.data import canonicalise, flat_key

SMILES = [f"{'C' * i}{tail}" for i in range(1, 30) for tail in ("O", "N", "c1ccccc1")]


def small_corpus(times: int = 4) -> corpus.Corpus:
    smiles, ids = corpus.encoded([canonicalise(s) for s in SMILES])
    return corpus.Corpus(smiles, ids, np.tile(np.arange(len(smiles)), times))


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """A tiny model on a few molecules."""
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    tiny = dict(pretraining.MINI, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    monkeypatch.setattr(pretraining, "MINI", tiny)
    return pretraining.Plan(tmp_path / "made", tokens_per_batch=256, save_steps=1)


def test_batches_hold_every_reading_once_and_little_padding():
    read = small_corpus(10)
    batches = corpus.TokenBatches(read, 512, seed=0)
    assert sorted(np.concatenate(batches.batches)) == list(range(len(read.readings)))
    sizes = [[len(item["input_ids"]) for item in batches[i]] for i in range(len(batches))]
    assert all(len(lengths) * max(lengths) <= 512 for lengths in sizes)
    assert sum(map(sum, sizes)) / sum(len(lengths) * max(lengths) for lengths in sizes) > 0.95
    assert sum(map(sum, sizes)) == read.n_tokens


def test_each_reading_comes_with_its_own_molecules_targets():
    read = small_corpus(2)
    targets = np.arange(len(read.smiles), dtype=np.float32)[:, None]
    batches = corpus.TokenBatches(read, 512, seed=0, targets=targets)
    for i in range(len(batches)):
        for item in batches[i]:
            assert item["input_ids"] == read.ids[int(item["descriptors"][0])].tolist()


def test_molecules_that_the_model_cannot_read_are_left_out():
    smiles, ids = corpus.encoded(["CCO", "C" * 200, "[Re]$[Re]"])
    assert smiles == ["CCO"] and len(ids) == 1


def test_a_corpus_leaves_molecules_out_and_reads_the_same_ones_however_long_it_is(monkeypatch):
    monkeypatch.setattr(corpus.sources, "moleculeace_smiles", lambda: ["CCO", "OCC", "CCN", "CCCl"])
    monkeypatch.setattr(corpus.sources, "moses_smiles", lambda part: [f"{'C' * i}O" for i in range(3, 60)])
    short, long = (corpus.draw_corpus(n, 0.6, {flat_key("CCN"), "CCCO"}, 0, n_moses=20) for n in (500, 5000))
    assert short.smiles == long.smiles and "CCN" not in short.smiles and "CCCO" not in short.smiles
    assert short.n_tokens == pytest.approx(500, rel=0.2) and long.n_tokens == pytest.approx(5000, rel=0.2)


def test_targets_are_defined_varied_and_different():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2000))
    values = np.column_stack([a, np.where(a == a.max(), np.nan, b), np.zeros(2000), np.eye(2000)[0], -2 * a + 1, b**3])
    assert corpus.usable(values).tolist() == [True, False, False, False, False, True]
    scaled = corpus.standardised(values[:, [0, 5]])
    assert scaled.dtype == np.float32 and np.abs(scaled).max() == 6 and np.abs(scaled[:, 0].mean()) < 1e-6


@pytest.mark.parametrize("descriptors", [0.0, 1.0])
def test_an_interrupted_run_resumes_and_leaves_a_plain_checkpoint(plan, tmp_path, monkeypatch, descriptors):
    plan = dataclasses.replace(plan, descriptors=descriptors, learning_rate=1e-2)
    steps, training_step = [], Trainer.training_step

    def counted(self, *args, **kwargs):
        steps.append(self.state.global_step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(small_corpus(), plan, tmp_path / "run")
    (tmp_path / "run" / "checkpoint-9").mkdir()  # half-written: without the Trainer's state
    pretraining.pretrain(small_corpus(), plan, tmp_path / "run")
    assert steps[:5] == [0, 1, 2, 2, 3]
    made = load_file(tmp_path / "made" / "model.safetensors")
    assert not [name for name in made if "descriptor" in name] and all(t.isfinite().all() for t in made.values())
    assert load_model(tmp_path / "made", task="mlm").config.architectures == ["MolformerForMaskedLM"]
    if descriptors:
        names = json.loads((tmp_path / "made" / "descriptors.json").read_text())
        assert "MolLogP" in names and "qed" not in names


def test_the_descriptors_loss_is_that_of_the_pooled_vector(tiny, batch):
    model = pretraining.TwoTasks(tiny, n_descriptors=3, weight=2.0).eval()
    labels, wanted = torch.full_like(batch["input_ids"], -100), torch.ones(4, 3)
    labels[0, 1] = batch["input_ids"][0, 1]
    loss = model(**batch, labels=labels, descriptors=wanted)["loss"]
    predicted = model.descriptor_head(model.molformer(**batch).pooler_output)
    masked = torch.nn.functional.cross_entropy(
        model.lm_head(model.molformer(**batch).last_hidden_state)[0, 1], labels[0, 1]
    )
    assert loss.item() == pytest.approx((masked + 2 * (predicted - wanted).square().mean()).item(), rel=1e-5)


def test_a_second_start_goes_on_from_the_weights(plan, tmp_path):
    pretraining.pretrain(small_corpus(), plan, tmp_path / "run")
    again = dataclasses.replace(plan, start=plan.output, output=tmp_path / "again", learning_rate=1e-9)
    pretraining.pretrain(small_corpus(), again, tmp_path / "second")
    first, second = (load_file(folder / "model.safetensors") for folder in (plan.output, again.output))
    assert all(np.allclose(first[name], second[name], atol=1e-5) for name in first)
