"""Lipophilicity and its split, loaded once for all tests of this folder."""

import pytest

from molft_utils import load_lipophilicity, split


@pytest.fixture(scope="session")
def lipophilicity():
    return load_lipophilicity()


@pytest.fixture(scope="session")
def parts(lipophilicity):
    return split(lipophilicity)
