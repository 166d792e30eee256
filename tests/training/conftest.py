"""Sixty small molecules whose label follows from their formula, and tiny models that learn it in a second."""

import pandas as pd
import pytest
from transformers import set_seed

from molft_utils import settings
from molft_utils.molformer import MolformerForSequenceClassification


@pytest.fixture
def smiles() -> list[str]:
    return [f"{'C' * i}{tail}" for i in range(1, 13) for tail in ("O", "N", "Cl", "F", "c1ccccc1")]


@pytest.fixture
def train(smiles):
    return pd.DataFrame({"smiles": smiles, "label": [10 + 0.5 * s.count("C") - 2 * s.count("O") for s in smiles]})[::2]


@pytest.fixture
def validation(train, smiles):
    chosen = smiles[1::2]
    return pd.DataFrame({"smiles": chosen, "label": [10 + 0.5 * s.count("C") - 2 * s.count("O") for s in chosen]})


@pytest.fixture
def cfg():
    return settings("smoke", learning_rate=0.03, epochs=3)


@pytest.fixture
def fresh(tiny):
    """Makes the same tiny regression model at every call."""
    tiny.redraw_in_training = False
    tiny.problem_type = "regression"

    def make() -> MolformerForSequenceClassification:
        set_seed(0)
        return MolformerForSequenceClassification(tiny)

    return make


@pytest.fixture
def model(fresh):
    return fresh()
