"""Pretraining the small checkpoints: corpus, batches, descriptors, resuming, and a second start."""

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
from molft_utils.files import CARRIED


def small_corpus(times: int = 4) -> corpus.Corpus:
    drawn = [canonicalise(f"{'C' * i}{tail}") for i in range(1, 30) for tail in ("O", "N", "c1ccccc1")]
    smiles, ids = corpus.encoded(drawn)
    return corpus.Corpus(smiles, ids, np.tile(np.arange(len(smiles)), times))


def test_batches_hold_every_reading_once_and_little_padding():
    read = small_corpus(10)
    batches = corpus.TokenBatches(read, 512, seed=0, targets=np.arange(len(read.smiles), dtype=np.float32)[:, None])
    assert sorted(np.concatenate(batches.batches)) == list(range(len(read.readings)))
    sizes = [[len(item["input_ids"]) for item in batches[i]] for i in range(len(batches))]
    assert all(len(lengths) * max(lengths) <= 512 for lengths in sizes)
    assert sum(map(sum, sizes)) / sum(len(lengths) * max(lengths) for lengths in sizes) > 0.95
    for i in range(len(batches)):  # each with its own molecule's targets
        assert all(item["input_ids"] == read.ids[int(item["descriptors"][0])].tolist() for item in batches[i])


def test_a_corpus_leaves_molecules_out_and_reads_the_same_ones_however_long_it_is(monkeypatch):
    monkeypatch.setattr(corpus.sources, "moleculeace_smiles", lambda: ["CCO", "OCC", "CCN", "CCCl", "C" * 200])
    monkeypatch.setattr(corpus.sources, "moses_smiles", lambda: [f"{'C' * i}O" for i in range(3, 60)])
    short, long = (corpus.draw_corpus(n, 0.6, {flat_key("CCN"), "CCCO"}, 0, n_moses=20) for n in (500, 5000))
    assert short.smiles == long.smiles and not {"CCN", "CCCO", "C" * 200} & set(short.smiles)
    assert short.lengths().sum() == pytest.approx(500, rel=0.2)
    assert long.lengths().sum() == pytest.approx(5000, rel=0.2)


def test_targets_are_defined_varied_and_different():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2000))
    values = np.column_stack([a, np.where(a == a.max(), np.nan, b), np.zeros(2000), np.eye(2000)[0], -2 * a + 1, b**3])
    assert corpus.usable(values).tolist() == [True, False, False, False, False, True]
    scaled = corpus.standardised(values[:, [0, 5]])
    assert scaled.dtype == np.float32 and np.abs(scaled).max() == 6 and np.abs(scaled[:, 0].mean()) < 1e-6


@pytest.mark.parametrize("descriptors", [0.0, 1.0])
def test_an_interrupted_run_resumes_and_leaves_a_plain_checkpoint(tmp_path, monkeypatch, descriptors):
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    start = CARRIED["mini"] if descriptors else None
    plan = pretraining.Plan(tmp_path / "made", start, descriptors=descriptors, tokens_per_batch=256, save_steps=1)
    steps, training_step = [], Trainer.training_step

    def counted(self, *args, **kwargs):
        steps.append(self.state.global_step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", counted)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain(small_corpus(1), plan, tmp_path / "run")
    (tmp_path / "run" / "checkpoint-90").mkdir()  # half-written: without the Trainer's state
    pretraining.pretrain(small_corpus(1), plan, tmp_path / "run")
    assert steps[:5] == [0, 1, 2, 2, 3]
    assert not [name for name in load_file(plan.output / "model.safetensors") if "descriptor" in name]
    assert load_model(plan.output, task="mlm").config.architectures == ["MolformerForMaskedLM"]
    if descriptors:
        names = json.loads((tmp_path / "made" / "descriptors.json").read_text())
        assert "MolLogP" in names and "qed" not in names


def test_the_descriptors_loss_is_that_of_the_pooled_vector(tiny, batch):
    model = pretraining.TwoTasks(tiny, n_descriptors=3, weight=2.0).eval()
    labels, wanted = torch.full_like(batch["input_ids"], -100), torch.ones(4, 3)
    labels[0, 1] = batch["input_ids"][0, 1]
    loss = model(**batch, labels=labels, descriptors=wanted)["loss"]
    encoded = model.molformer(**batch)
    predicted = model.descriptor_head(encoded.pooler_output)
    masked = torch.nn.functional.cross_entropy(model.lm_head(encoded.last_hidden_state)[0, 1], labels[0, 1])
    assert loss.item() == pytest.approx((masked + 2 * (predicted - wanted).square().mean()).item(), rel=1e-5)
