"""Tests run in the smoke profile, on at most two threads; only those marked ``hub`` reach for the hub.

They see a GPU only where ``pytest -m gpu`` asks for the tests marked so: all others are the same on every machine.
"""

import os

os.environ.setdefault("MOLFT_PROFILE", "smoke")

import pytest
import torch
from transformers.utils import logging

from molft_utils.molformer import MolformerConfig

torch.set_num_threads(min(2, torch.get_num_threads()))
logging.disable_progress_bar()


def pytest_configure(config):
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no GPU with CUDA is there, or `pytest -m gpu` has not asked for it")


#: The smallest model that has every part: two layers, two heads, more features than dimensions a head.
TINY = dict(
    vocab_size=2362,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    num_random_features=10,
    num_labels=1,
)


@pytest.fixture
def tiny() -> MolformerConfig:
    torch.manual_seed(0)
    return MolformerConfig(**TINY)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Four random molecules of 9, 7, 5 and 3 tokens."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(4, 60, (4, 9), generator=generator)
    mask = (torch.arange(9) < torch.tensor([[9], [7], [5], [3]])).long()
    return {"input_ids": ids.where(mask.bool(), torch.tensor(2)), "attention_mask": mask}
