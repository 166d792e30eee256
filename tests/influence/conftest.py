"""What the tests of influence share: a ridge regression, and a tiny model."""

import pytest
import torch
from ridge_problem import Ridge

from molft_utils.molformer import MolformerConfig, MolformerForSequenceClassification

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
