"""What the tests of influence share: a ridge regression, a tiny model, the mini checkpoint with a fitted head."""

import pytest
import torch
from ridge_problem import Ridge

from molft_utils import load_lipophilicity, load_model, split
from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification
from molft_utils.training import molecule_batches

TINY = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, num_random_features=8,
    classifier_head="linear", num_labels=1, problem_type="regression", label_mean=2.0, label_std=1.2,
)  # fmt: skip


@pytest.fixture(scope="session")
def ridge():
    return Ridge()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = MolformerForSequenceClassification(MolformerConfig(**TINY)).double().eval()
    for name, p in model.named_parameters():  # a trained model's biases are not zero
        if name.endswith("bias"):
            torch.nn.init.normal_(p, std=0.1)
    return model


@pytest.fixture(scope="session")
def mini():
    """The mini checkpoint with a head fitted by ridge regression, and some molecules."""
    parts = split(load_lipophilicity())
    train, target = parts.train.head(128), parts.validation.head(24)
    model = load_model("mini")
    model.config.canonical_smiles = True
    model.config.label_mean, model.config.label_std = float(train["label"].mean()), float(train["label"].std())
    batches, rows = molecule_batches(model, train, 64)
    with torch.no_grad():
        pooled = torch.cat(
            [model.molformer(b["input_ids"], b["attention_mask"]).pooler_output for b in batches]
        ).double()
        y = (torch.tensor(train["label"].to_numpy()[rows]) - model.config.label_mean) / model.config.label_std
        weight = torch.linalg.solve(pooled.T @ pooled + 10 * torch.eye(128), pooled.T @ y)
        model.classifier.out_proj.weight[:] = weight.float()
    return model, train, target, parts.test.head(30)
