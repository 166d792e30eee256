"""Pretraining the small checkpoints: corpus, batches, descriptors, budget, resuming, and a second start."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from molft_utils import CheckpointError, load_model
from molft_utils.data import canonicalise, flat_key
from molft_utils.making import corpus, pretrain

SMILES = [f"{'C' * i}{tail}" for i in range(1, 30) for tail in ("O", "N", "c1ccccc1")]


def small_corpus(times: int = 4) -> corpus.Corpus:
    smiles, ids = corpus.encoded([canonicalise(s) for s in SMILES])
    return corpus.Corpus(smiles, ids, np.tile(np.arange(len(smiles)), times))


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A tiny model on a few molecules, without the packages that `make mini` downloads."""
    monkeypatch.setattr(pretrain, "draw_corpus", lambda *args: small_corpus())
    monkeypatch.setattr(pretrain, "excluded_molecules", lambda descriptors: set())
    monkeypatch.setenv("MOLFT_STAGES", str(tmp_path / "stages"))
    monkeypatch.setattr(
        pretrain, "MINI", dict(pretrain.MINI, hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    )
    folders = ["--run-folder", str(tmp_path / "run"), "--output", str(tmp_path / "made"), "--tokens-per-batch", "256"]
    return lambda *more: pretrain.pretrain(pretrain.arguments([*folders, *more]))


def test_batches_hold_every_reading_once_and_little_padding():
    read = small_corpus(10)
    batches = corpus.TokenBatches(read, 512, seed=0)
    assert sorted(np.concatenate(batches.batches)) == list(range(len(read.readings)))
    sizes = [[len(item["input_ids"]) for item in batches[i]] for i in range(len(batches))]
    assert all(len(lengths) * max(lengths) <= 512 for lengths in sizes)
    assert sum(map(sum, sizes)) / sum(len(lengths) * max(lengths) for lengths in sizes) > 0.95
    assert sum(map(sum, sizes)) == read.n_tokens


def test_a_share_of_the_readings_is_written_as_a_random_smiles():
    read = small_corpus(10)
    plain, written = (corpus.TokenBatches(read, 512, seed=0, random_share=share) for share in (0.0, 0.5))
    pairs = [
        (tuple(a["input_ids"]), tuple(b["input_ids"]))
        for i in range(len(plain))
        for a, b in zip(plain[i], written[i], strict=True)
    ]
    assert 0.25 < np.mean([a != b for a, b in pairs]) < 0.5  # a random one may be the canonical one
    assert [item["input_ids"] for item in written[3]] == [item["input_ids"] for item in written[3]]  # a resumed run
    tokenizer = pretrain.load_tokenizer()
    decoded = [[tokenizer.decode(ids[1:-1]).replace(" ", "") for ids in pair] for pair in pairs[:50]]
    assert all(canonicalise(a) == canonicalise(b) for a, b in decoded)


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


def test_a_run_stops_at_its_budget_and_resumes(small, tmp_path, capsys):
    small("--minutes", "0")
    assert "stopped by the time budget at step 1" in capsys.readouterr().out and not (tmp_path / "made").exists()
    small()
    resumed = load_file(tmp_path / "made" / "model.safetensors")
    assert load_model(tmp_path / "made", task="mlm").config.hidden_size == 16
    assert all(np.isfinite(t.numpy()).all() for t in resumed.values())


def test_a_run_with_descriptors_resumes_and_leaves_a_plain_checkpoint(small, tmp_path, capsys):
    arguments = ("--descriptors", "1", "--random-share", "0.5", "--learning-rate", "1e-2")
    small(*arguments, "--minutes", "0")
    small(*arguments)
    made = load_file(tmp_path / "made" / "model.safetensors")
    assert not [name for name in made if "descriptor" in name]
    names = json.loads((tmp_path / "made" / "descriptors.json").read_text())
    assert "MolLogP" in names and "qed" not in names
    model, read = load_model(tmp_path / "made", task="mlm"), small_corpus(1)
    assert len({tuple(ids) for ids in read.ids}) == len(read.ids) and model.config.architectures == [
        "MolformerForMaskedLM"
    ]


def test_the_descriptors_loss_is_that_of_the_pooled_vector(tiny, batch):
    model = pretrain.TwoTasks(tiny, n_descriptors=3, weight=2.0).eval()
    labels, wanted = torch.full_like(batch["input_ids"], -100), torch.ones(4, 3)
    labels[0, 1] = batch["input_ids"][0, 1]
    loss = model(**batch, labels=labels, descriptors=wanted)["loss"]
    predicted = model.descriptor_head(model.molformer(**batch).pooler_output)
    masked = torch.nn.functional.cross_entropy(
        model.lm_head(model.molformer(**batch).last_hidden_state)[0, 1], labels[0, 1]
    )
    assert loss.item() == pytest.approx((masked + 2 * (predicted - wanted).square().mean()).item(), rel=1e-5)


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

    state = SimpleNamespace(global_step=0, max_steps=1)

    def train(self, **options):
        pass

    def is_world_process_zero(self):
        return True


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
