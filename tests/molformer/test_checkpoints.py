"""Loading checkpoints from folders, the repository and the hub."""

import json
import os
import socket

import pytest
import torch
from transformers import AutoModelForMaskedLM

from molft_utils import CheckpointError, load_model, load_tokenizer
from molft_utils.molformer import MolformerForMaskedLM


def test_mini_checkpoint_loads_for_every_task():
    for task, size in (("encoder", None), ("mlm", 2362), ("regression", 1)):
        model = load_model("mini", task=task)
        assert not model.training and model.config.deterministic_eval
        output = model(**load_tokenizer()(["CCO"], return_tensors="pt"))
        assert size is None or output.logits.shape[-1] == size
    assert sum(p.numel() for p in load_model("mini", head="linear").classifier.parameters()) == 129


def test_published_head_and_overrides(tiny, tmp_path):
    MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    model = load_model(tmp_path, head="published", hidden_dropout_prob=0.3)
    assert hasattr(model.classifier, "dense2") and model.config.hidden_dropout_prob == 0.3


def test_a_head_is_new_and_the_encoder_is_not(tiny, tmp_path):
    made = MolformerForMaskedLM(tiny)
    made.save_pretrained(tmp_path)
    torch.manual_seed(1)
    first = load_model(tmp_path)
    torch.manual_seed(1)
    second = load_model(tmp_path)
    assert torch.equal(first.classifier.out_proj.weight, second.classifier.out_proj.weight)
    for name, tensor in made.molformer.state_dict().items():
        assert torch.equal(tensor, first.molformer.state_dict()[name])


def test_a_missing_or_a_cut_checkpoint_is_named(tiny, tmp_path):
    with pytest.raises(CheckpointError, match=r"no model\.safetensors.*make mini"):
        load_model(tmp_path / "nowhere")
    MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"hidden_size": "many"}'])
def test_a_configuration_that_is_none_is_named(tiny, tmp_path, text):
    MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_model(tmp_path)


@pytest.mark.parametrize("change", [dict(hidden_size=32), dict(num_hidden_layers=3)], ids=str)
def test_a_checkpoint_that_does_not_fill_its_configuration_is_refused(tiny, tmp_path, change):
    MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"cannot be loaded|does not fit the model: missing"):
        load_model(tmp_path)


class Planted:
    """A pickle that runs code when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "training_args.bin", "tokenizer.json"])
def test_a_planted_pickle_is_never_read(tiny, tmp_path, name):
    tiny.save_pretrained(tmp_path)
    if name in ("training_args.bin", "tokenizer.json"):  # next to good weights
        MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    torch.save(Planted(tmp_path / "it ran"), tmp_path / name)
    if name == "training_args.bin":
        load_model(tmp_path)
    else:
        with pytest.raises(CheckpointError, match=r"safetensors|cannot be loaded|missing or damaged"):
            load_tokenizer(tmp_path) if name == "tokenizer.json" else load_model(tmp_path)
    assert not (tmp_path / "it ran").exists()


def test_code_that_lies_next_to_a_checkpoint_is_not_run(tiny, tmp_path):
    """``auto_map`` asks the Auto classes to import a file of the checkpoint's folder; our own classes never do."""
    MolformerForMaskedLM(tiny).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "planted.Config", "AutoModelForMaskedLM": "planted.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')")
    for task in ("mlm", "regression", "encoder"):
        load_model(tmp_path, task=task)
    AutoModelForMaskedLM.from_pretrained(tmp_path, trust_remote_code=False)
    assert not (tmp_path / "it ran").exists()


def test_published_checkpoint_is_asked_for_by_revision_and_as_safetensors(monkeypatch):
    asked = {}

    def from_pretrained(name, **options):
        asked.update(options, name=name)
        raise OSError("no network in this test")

    monkeypatch.setattr(MolformerForMaskedLM, "from_pretrained", from_pretrained)
    with pytest.raises(CheckpointError, match=r"MoLFormer-XL-both-10pct cannot be loaded.*no network"):
        load_model("xl", task="mlm")
    assert asked["revision"] == "7b12d946c181a37f6012b9dc3b002275de070314"
    assert asked["use_safetensors"] is True and "trust_remote_code" not in asked


def test_unknown_task_is_refused():
    with pytest.raises(CheckpointError, match="encoder, mlm, regression"):
        load_model("mini", task="classification")


def hub_is_reachable() -> bool:
    if os.environ.get("HF_HUB_OFFLINE"):
        return False
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.hub
def test_published_checkpoint_gives_the_known_values():
    if not hub_is_reachable():
        pytest.skip("the Hugging Face hub cannot be reached: the published weights are not checked here")
    smiles = load_tokenizer("xl")("CC(=O)Oc1ccccc1C(=O)O", return_tensors="pt")
    logits = load_model("xl", task="mlm")(**smiles).logits[0, :3, :3]
    expected = [[-12.1811, -12.2346, -12.3054], [-9.0371, -11.0436, -10.6556], [-8.2395, -9.6526, -9.6713]]
    torch.testing.assert_close(logits, torch.tensor(expected), atol=1e-4, rtol=0)
    pooled = load_model("xl", task="encoder")(**smiles).pooler_output[0, :5]
    expected = torch.tensor([0.59427, 0.45265, 0.34374, 0.66782, -0.69957])
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=0)
