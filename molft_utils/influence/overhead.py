"""What LiSSA spends on its scale and on looking at its residual: at most half of what it spends on the solution."""

import dataclasses

#: Lanczos steps for the scale at most, and batches for it at most.
SCALE_STEPS, SCALE_BATCHES = 10, 4


#: Batches that an estimate of the residual takes, and looks that there are at least, if the depth pays for them.
FEWEST_BATCHES, MOST_BATCHES, FEWEST_LOOKS = 4, 10, 3


@dataclasses.dataclass(frozen=True)
class Overhead:
    """Lanczos steps and batches for the scale; ``looks``: after how many products to look, and on how many batches.

    From a depth of 20 on it comes to at most half of the depth. Below, the scale still takes four products and the
    one look up to four.
    """

    scale_steps: int
    scale_batches: int
    looks: dict[int, int]


def plan_overhead(depth: int, average: float, n_batches: int, estimates_scale: bool) -> Overhead:
    """Share out half of the depth: up to a fifth of the depth for the scale, what is left for looks."""
    scale_batches = max(1, min(SCALE_BATCHES, n_batches, depth // 25))  # from a gradient, five steps are enough
    scale_steps = max(4, min(SCALE_STEPS, depth // (5 * scale_batches)))
    left = depth // 2 - estimates_scale * scale_steps * scale_batches
    return Overhead(scale_steps, scale_batches, _looks(left, windows(depth, average), n_batches))


def _looks(left: int, ends: list[int], n_batches: int) -> dict[int, int]:
    """From the last window backwards: on all batches while that leaves enough for three looks, else on a few."""
    few = min(n_batches, MOST_BATCHES, max(FEWEST_BATCHES, left // FEWEST_LOOKS))
    looks: dict[int, int] = {}
    for end in reversed(ends):
        still_wanted = max(0, FEWEST_LOOKS - len(looks) - 1)
        size = n_batches if left >= n_batches + still_wanted * few else few
        if looks and left < size:
            break
        looks[end], left = size, left - size
    return looks


def windows(depth: int, average: float) -> list[int]:
    """Where an average over the last share of the iterates ends: ..., depth (1 - average), depth."""
    ends, t = [], float(depth)
    while t >= 1:
        ends.append(round(t))
        t *= 1 - average
    return sorted(set(ends))
