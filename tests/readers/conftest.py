"""Small stacks in which no two sizes or spacings are the same."""

import numpy as np
import pytest


@pytest.fixture
def volume():
    return np.random.default_rng(7).integers(0, 60000, (5, 40, 24)).astype("u2")


@pytest.fixture
def hyperstack():
    return np.random.default_rng(8).integers(0, 60000, (3, 2, 5, 40, 24)).astype("u2")
