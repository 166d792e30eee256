"""Linear attention with rotary positions, the layer in which MoLFormer differs from BERT (Katharopoulos et al. 2020).

The cost of ``softmax(q k^T) v`` grows with the square of the length. Linear attention computes ``phi(q) (phi(k)^T v)``
with the random features ``phi(x) = relu(x Omega)``: the bracket is one small matrix for the whole molecule, so the cost
grows linearly with the length.

Shapes: B molecules, L tokens, H heads, d dimensions a head (H * d = hidden size), F random features.
"""

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from .configuration_molformer import MolformerConfig


def random_features(d: int, n_features: int, device: torch.device | str = "cpu") -> Tensor:
    """Draw Omega: orthogonal blocks whose columns have the lengths of Gaussian vectors (Choromanski et al. 2021).

    Parameters
    ----------
    d : int
        Dimensions a head.
    n_features : int
        F, the number of columns.
    device
        Where to draw it.

    Returns
    -------
    Tensor [d, n_features], float32.
    """
    blocks = []
    for _ in range(-(-n_features // d)):  # rounded up
        gaussian = torch.randn(d, d, device=device)
        orthogonal, _ = torch.linalg.qr(gaussian)
        blocks.append(orthogonal * gaussian.norm(dim=1))  # column j takes the length of row j
    return torch.cat(blocks, dim=1)[:, :n_features]


def rotary_tables(length: int, d: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each [length, d], float32 (Su et al. 2021, base 10000).

    Computed at every forward: a table kept as a buffer would come back uninitialised from ``from_pretrained``.
    """
    frequency = 10000.0 ** (-torch.arange(0, d, 2, device=device, dtype=torch.float32) / d)
    angle = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}) by their position's angle; x is [B, H, L, d]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 (which the Hessian tests use) stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class FeatureMap(nn.Module):
    """phi(x) = relu(x Omega), [..., d] to [..., F]; Omega [d, F] is a buffer, saved with the weights."""

    weight: Tensor  # Omega

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.d = config.hidden_size // config.num_attention_heads
        self.n_features = config.num_random_features
        self.kernel = ACT2FN[config.feature_map_kernel]
        #: Whether a forward pass draws a new Omega, in training mode and in eval mode.
        self.redraw_in_training = config.redraw_in_training
        self.redraw_in_evaluation = not config.deterministic_eval
        self.register_buffer("weight", torch.empty(self.d, self.n_features))

    def draw(self) -> None:
        """Draw a new Omega."""
        # A new tensor, not a change in place: an earlier forward may still need the old one for its backward.
        self.weight = random_features(self.d, self.n_features, self.weight.device).to(self.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.kernel(x @ self.weight.to(x.dtype))

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """phi of :func:`rotate`: [B, L, H, d] to [L, B, H, F], with tables [L, d] of the positions.

        A rotation and Omega are both matrices, so each position's are multiplied once, for all molecules and heads. To
        rotate every vector takes a fifth more time for the whole attention.
        """
        weight = self.weight.to(x.dtype)
        first, second = weight.chunk(2)
        turned = cos[..., None] * weight + sin[..., None] * torch.cat((second, -first))  # [L, d, F]
        features = torch.bmm(x.transpose(0, 1).flatten(1, 2), turned)
        return self.kernel(features).unflatten(1, (x.shape[0], x.shape[2]))


class MolformerSelfAttention(nn.Module):
    """Linear attention with rotary positions, [B, L, hidden] to [B, L, hidden]; mask [B, L] is 0 at padding."""

    def __init__(self, config: MolformerConfig):
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.eps = config.linear_attention_eps
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.feature_map = FeatureMap(config)

    def forward(self, hidden: Tensor, mask: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        omega = self.feature_map
        if omega.redraw_in_training if self.training else omega.redraw_in_evaluation:
            omega.draw()
        q, k, v = (
            layer(hidden).unflatten(-1, (self.n_heads, -1))  # [B, L, H, d]
            for layer in (self.query, self.key, self.value)
        )
        # Sums over a molecule overflow fp16, and the normaliser underflows it: fp32 from here on.
        with torch.autocast(hidden.device.type, enabled=False):
            q, k, v = (at_least_fp32(x) for x in (q, k, v))
            cos, sin = (table.to(q.dtype) for table in rotary)
            phi_q = self.feature_map.rotated(q, cos, sin).permute(1, 2, 0, 3)  # [B, H, L, F]
            phi_k = self.feature_map.rotated(k, cos, sin).permute(1, 2, 3, 0)  # [B, H, F, L]
            # A column of ones beside the values makes the normaliser of the same product; padding counts as zero.
            values = nn.functional.pad(v, (0, 1), value=1.0).transpose(1, 2) * mask[:, None, :, None].to(v.dtype)
            weighted, normaliser = (phi_q @ (phi_k @ values)).split((v.shape[-1], 1), dim=-1)
            context = weighted / normaliser.clamp(min=self.eps)  # [B, H, L, d]
        return context.transpose(1, 2).flatten(-2).to(hidden.dtype)


@torch.no_grad()
def attention_weights(attention: MolformerSelfAttention, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """What the forward pass never forms: the weight of each token for each, for pictures of molecules without padding.

    Parameters
    ----------
    attention
        In eval mode.
    hidden : Tensor [B, L, hidden]
    rotary
        As :func:`rotary_tables` gives them.

    Returns
    -------
    Tensor [B, H, L, L]
        Row i holds the weights with which token i averages the values; a row sums to 1.
    """
    q, k = (
        at_least_fp32(layer(hidden)).unflatten(-1, (attention.n_heads, -1))
        for layer in (attention.query, attention.key)
    )
    cos, sin = rotary
    phi_q, phi_k = (attention.feature_map.rotated(x, cos, sin).permute(1, 2, 0, 3) for x in (q, k))  # [B, H, L, F]
    pairs = phi_q @ phi_k.transpose(-1, -2)
    return pairs / pairs.sum(dim=-1, keepdim=True).clamp(min=attention.eps)
