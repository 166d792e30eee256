"""Influence functions: which candidates, added to the training data, would lower the loss on a target set?"""

from .curvature import Params, gauss_newton_product, gradient, hvp
from .inverse_hvp import InverseHVP, conjugate_gradient, lissa
from .kernel import Kernel, influence_kernel
from .scoring import InfluenceResult, influence_scores, molecule_loss, scores, trained_parameters
