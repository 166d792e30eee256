"""The native MoLFormer against vectors of the published implementation, and its own promises."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from molft_utils.molformer import (
    MolformerConfig,
    MolformerForMaskedLM,
    MolformerForSequenceClassification,
    MolformerModel,
)
from molft_utils.molformer.linear_attention import FeatureMap, random_features, rotary_tables, rotate

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def parity():
    with safe_open(FIXTURES / "parity.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dictionary
        return MolformerConfig(**json.loads(file.metadata()["config"])), tensors


def weights(tensors, *prefixes):
    return {key.removeprefix(p): t for p in prefixes for key, t in tensors.items() if key.startswith(p)}


def test_masked_lm_agrees_with_the_published_implementation(parity):
    config, expected = parity
    model = MolformerForMaskedLM(config).eval()
    model.load_state_dict(weights(expected, "state_dict/"))
    inputs = {name: expected[name] for name in ("input_ids", "attention_mask", "labels")}
    output = model(**inputs, output_hidden_states=True)
    torch.testing.assert_close(output.logits, expected["mlm_logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.loss, expected["mlm_loss"].squeeze(), atol=1e-5, rtol=0)
    assert len(output.hidden_states) == config.num_hidden_layers + 1
    for i, hidden in enumerate(output.hidden_states):
        torch.testing.assert_close(hidden, expected[f"hidden_states/{i}"], atol=1e-5, rtol=0)


def test_encoder_agrees_with_the_published_implementation(parity):
    config, expected = parity
    model = MolformerModel(config).eval()
    model.load_state_dict(weights(expected, "state_dict/molformer."))
    output = model(expected["input_ids"], expected["attention_mask"])
    torch.testing.assert_close(output.last_hidden_state, expected["last_hidden_state"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.pooler_output, expected["pooler_output"], atol=1e-5, rtol=0)


def test_regression_agrees_with_the_published_implementation_gradients_included(parity):
    config, expected = parity
    model = MolformerForSequenceClassification(config).eval()
    state = weights(expected, "state_dict/", "cls_state_dict/")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("lm_head.")})
    output = model(expected["input_ids"], expected["attention_mask"], labels=expected["cls_labels"])
    output.loss.backward()
    torch.testing.assert_close(output.logits, expected["cls_logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(output.loss, expected["cls_loss"].squeeze(), atol=1e-5, rtol=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[f"cls_grads/{name}"], atol=1e-5, rtol=1e-5)


def test_state_dict_has_the_published_names_and_shapes():
    published = json.loads((FIXTURES / "state_dict_shapes.json").read_text())
    with torch.device("meta"):
        model = MolformerForMaskedLM(MolformerConfig())
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published
    assert len(published) == 212
    assert sum(p.numel() for p in model.parameters()) == 46_781_184
    with torch.device("meta"):
        classifier = MolformerForSequenceClassification(MolformerConfig(num_labels=1))
    assert sum(p.numel() for p in classifier.parameters()) == 45_556_993


def test_linear_attention_equals_the_sum_over_pairs(tiny, batch):
    attention = MolformerModel(tiny).eval().encoder.layer[0].attention.self
    hidden, mask = torch.randn(4, 9, 16), batch["attention_mask"].float()
    d = attention.feature_map.d
    rotary = rotary_tables(9, d, torch.device("cpu"))
    q, k, v = (f(hidden).view(4, 9, 2, d).transpose(1, 2) for f in (attention.query, attention.key, attention.value))
    phi_q, phi_k = (attention.feature_map(rotate(x, *rotary)) for x in (q, k))
    pairs = torch.einsum("bhif,bhjf->bhij", phi_q, phi_k) * mask[:, None, None, :]
    expected = (pairs / pairs.sum(-1, keepdim=True).clamp(min=1e-6)) @ v
    found = attention(hidden, mask, rotary)
    torch.testing.assert_close(found, expected.transpose(1, 2).reshape(4, 9, 16), atol=1e-5, rtol=1e-5)


def test_omega_has_orthogonal_columns_in_each_block():
    omega = random_features(8, 20)
    assert omega.shape == (8, 20)
    gram = omega[:, :8].T @ omega[:, :8]
    torch.testing.assert_close(gram, torch.diag(gram.diagonal()), atol=1e-5, rtol=0)
    assert not torch.allclose(omega[:, :8], omega[:, 8:16]), "each block is drawn for itself"


def test_omega_columns_have_the_lengths_of_the_rows_drawn():
    torch.manual_seed(0)
    omega = random_features(8, 8)
    torch.manual_seed(0)
    torch.testing.assert_close(omega.norm(dim=0), torch.randn(8, 8).norm(dim=1))


def omegas(model):
    return [m.weight.clone() for m in model.modules() if isinstance(m, FeatureMap)]


def test_omega_is_fixed_in_eval_and_redrawn_in_training(tiny, batch):
    model = MolformerModel(tiny).eval()
    before = omegas(model)
    first, second = model(**batch).pooler_output, model(**batch).pooler_output
    assert torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(before, omegas(model), strict=True))
    model.train()(**batch)
    assert not any(torch.equal(a, b) for a, b in zip(before, omegas(model), strict=True))


def test_omega_follows_the_configuration(tiny, batch):
    tiny.redraw_in_training = False
    constant = MolformerModel(tiny).train()
    before = omegas(constant)
    constant(**batch)
    assert all(torch.equal(a, b) for a, b in zip(before, omegas(constant), strict=True))
    assert all(m.redraw_in_training is False for m in constant.modules() if isinstance(m, FeatureMap))
    tiny.deterministic_eval = False
    redrawing = MolformerModel(tiny).eval()
    assert not torch.equal(redrawing(**batch).pooler_output, redrawing(**batch).pooler_output)


def test_two_forwards_before_one_backward_while_omega_is_redrawn(tiny, batch):
    model = MolformerModel(tiny).train()
    (model(**batch).pooler_output.sum() + model(**batch).pooler_output.sum()).backward()
    assert all(p.grad is not None for name, p in model.named_parameters())


def with_large_activations(model):
    """Queries and keys of some hundreds: sums over their features overflow fp16."""
    with torch.no_grad():
        for layer in model.molformer.encoder.layer:
            layer.attention.self.query.weight *= 3000
            layer.attention.self.key.weight *= 3000
    return model


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_stays_finite_with_large_activations(tiny, batch, dtype):
    model = with_large_activations(MolformerForSequenceClassification(tiny)).train()
    with torch.autocast("cpu", dtype=dtype):
        output = model(**batch, labels=torch.randn(4))
    output.loss.backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_whole_model_in_another_precision(tiny, batch, dtype):
    model = with_large_activations(MolformerForSequenceClassification(tiny)).to(dtype).train()
    output = model(**batch)
    assert torch.isfinite(output.logits).all()
    assert output.logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_float64_is_not_rounded_to_float32(tiny, batch):
    model = MolformerModel(tiny).double().eval()
    embeds = torch.randn(4, 9, 16, dtype=torch.float64, requires_grad=True)
    mask = batch["attention_mask"]
    assert torch.autograd.gradcheck(
        lambda e: model(inputs_embeds=e, attention_mask=mask).pooler_output, embeds, atol=1e-7
    )


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated")  # its new name is not in 5.15
def test_gradient_checkpointing_changes_nothing(tiny, batch, monkeypatch):
    gradients, draws, draw = [], [], FeatureMap.draw
    monkeypatch.setattr(FeatureMap, "draw", lambda self: (draws.append(self), draw(self)))
    for checkpointing in (False, True):
        torch.manual_seed(3)
        model = MolformerForSequenceClassification(tiny).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": True})
        torch.manual_seed(4)  # dropout and Omega are drawn in the forward
        model(**batch, labels=torch.ones(4)).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert len(draws) == 2 + 4, "two layers: drawn once each, and under checkpointing a second time in the backward"
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(*gradients, strict=True))


def test_padding_changes_nothing(tiny, batch):
    model = MolformerForSequenceClassification(tiny).eval()
    padded = model(**batch).logits
    garbage = batch["input_ids"].where(batch["attention_mask"].bool(), torch.tensor(7))
    torch.testing.assert_close(model(garbage, batch["attention_mask"]).logits, padded, atol=1e-5, rtol=0)
    for row in range(4):
        length = int(batch["attention_mask"][row].sum())
        alone = model(batch["input_ids"][row : row + 1, :length]).logits
        torch.testing.assert_close(alone, padded[row : row + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("made", "auto"),
    [
        (MolformerModel, AutoModel),
        (MolformerForMaskedLM, AutoModelForMaskedLM),
        (MolformerForSequenceClassification, AutoModelForSequenceClassification),
    ],
)
def test_save_and_load_through_the_auto_classes(tiny, batch, tmp_path, made, auto):
    model = made(tiny).eval()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded = auto.from_pretrained(tmp_path).eval()
    assert type(loaded) is made
    assert all(torch.equal(a, loaded.state_dict()[name]) for name, a in model.state_dict().items())
    first, second = (m(**batch)[0] for m in (model, loaded))
    assert torch.equal(first, second)


def test_initial_weights_are_the_published_ones():
    torch.manual_seed(0)
    model = MolformerForMaskedLM(MolformerConfig(hidden_size=96, num_hidden_layers=1, num_attention_heads=4))
    embedding = model.molformer.embeddings.word_embeddings.weight
    assert embedding.std().item() == pytest.approx(0.02, rel=0.05)
    assert not embedding[2].any(), "the row of the padding token is zero"
    assert not model.molformer.encoder.layer[0].attention.self.query.bias.any()
    assert torch.equal(model.molformer.LayerNorm.weight, torch.ones(96))


def test_labels_are_standardised_inside_the_model(tiny, batch):
    labels = torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.manual_seed(5)
    plain = MolformerForSequenceClassification(MolformerConfig(**{**tiny.to_dict(), "num_labels": 1})).eval()
    scaled = MolformerForSequenceClassification(
        MolformerConfig(**{**tiny.to_dict(), "num_labels": 1, "label_mean": 2.5, "label_std": 2.0})
    ).eval()
    scaled.load_state_dict(plain.state_dict())
    a, b = plain(**batch, labels=(labels - 2.5) / 2), scaled(**batch, labels=labels)
    torch.testing.assert_close(b.logits, a.logits * 2 + 2.5)
    torch.testing.assert_close(b.loss, a.loss)


def test_masked_lm_scores_only_the_labelled_positions_in_training(tiny, batch):
    tiny.hidden_dropout_prob = tiny.embedding_dropout_prob = 0.0
    tiny.redraw_in_training = False
    model = MolformerForMaskedLM(tiny)
    labels = torch.full((4, 9), -100)
    labels[0, 2], labels[1, 3] = 5, 6
    trained, evaluated = model.train()(**batch, labels=labels), model.eval()(**batch, labels=labels)
    assert trained.logits.shape == (2, 2362) and evaluated.logits.shape == (4, 9, 2362)
    torch.testing.assert_close(trained.loss, evaluated.loss)


def test_a_batch_without_a_masked_token_has_no_loss(tiny, batch):
    model = MolformerForMaskedLM(tiny)
    labels = torch.full((4, 9), -100)
    for training in (True, False):
        assert model.train(training)(**batch, labels=labels).loss == 0


def test_unusable_configurations_are_refused(tiny):
    with pytest.raises(ValueError, match="even multiple of num_attention_heads"):
        MolformerConfig(hidden_size=10, num_attention_heads=4)
    tiny.classifier_head = "deep"
    with pytest.raises(ValueError, match="'published' or 'linear'"):
        MolformerForSequenceClassification(tiny)
