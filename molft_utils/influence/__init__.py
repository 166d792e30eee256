"""Influence functions: which candidates, added to the training data, would lower the loss on a target set?"""

from .kernel import Kernel, KernelPath, influence_kernel
from .lissa import (
    InverseHVP,
    Params,
    conjugate_gradient,
    gauss_newton_product,
    gradient,
    hvp,
    largest_eigenvalue,
    lissa,
)
from .scores import InfluenceResult, influence_scores, molecule_loss, scores, trained_parameters
from .unrolled import Recipe, Training, Unrolled, antisymmetry, unrolled_scores
