"""Magnitude pruning with masks that stay through training.

Han, Pool, Tran, Dally: "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015.
Zhu, Gupta: "To prune, or not to prune: exploring the efficacy of pruning for model compression", 2017.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from converters.compress.calibration import Batch, batches_of
from converters.compress.layers import Slot, per_layer, weights_of
from converters.compress.reconstruct import reconstruct

Scope = Literal["layer", "global"]


class Mask(nn.Module):
    """Parametrization that holds the weights outside `mask` at zero. They receive no gradient.

    mask: bool, the shape of the weight; True keeps.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        # Not a product with the mask: -1 * 0 is -0, which is a second zero to whoever looks at bits.
        return torch.where(self.mask, weight, 0.0)

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


def prune(
    module: nn.Module,
    sparsity: float | Mapping[str, float] | None = None,
    scope: Scope = "layer",
    layers: Iterable[str] | None = None,
    block: tuple[int, int] = (1, 1),
    n: int | None = None,
    m: int | None = None,
    calibration: Iterable[Batch] | None = None,
    progress: bool = True,
) -> nn.Module:
    """Zero the smallest weights of the linear, conv2d, LSTM and GRU layers of `module`, in place, and keep
    them zero.

    sparsity: the fraction of zeros to reach, 0 <= sparsity < 1; or one for each layer name, others stay as
        they are.
    scope: "layer" ranks within each layer, "global" ranks all weights together (one sparsity for all).
    layers: names of the layers to prune; all by default. Weights of recurrent layers have names of their own,
        "encoder.weight_hh_l0".
    block: (outputs, inputs) that are pruned together, ranked by the sum of their magnitudes; inputs counts
        inputs x taps of a kernel. (16, 1), (8, 1) and (4, 1) run fastest, in this
        order.
    n, m: instead of sparsity, keep the n largest of every m consecutive inputs (of the same tap).
    calibration: batches of inputs, a tensor each or one tensor per argument. Then weights are ranked by their
        magnitude times the root mean square of their input, and what is left of a layer is fitted, so that
        its outputs stay what they were before (see reconstruct.py). This keeps most of what magnitude alone
        loses before any training. Linear and conv2d layers only. Give several times as many tokens or pixels
        as a layer has inputs; some hundred inputs will do.
    progress: show a bar while the layers are fitted.

    Exactly round(sparsity * weights) of them become zero, counted in blocks. Weights that were pruned before
    stay pruned and count, so a gradual schedule is this call repeated with rising sparsity while the module
    trains:

        for step in range(steps):
            prune(module, cubic_sparsity(step + 1, steps, 0.95))
            train_one_epoch(module)

    Parameters keep their identity: an optimizer made before goes on working. Masks left by
    torch.nn.utils.prune are taken over first. Returns `module`. Raises ValueError naming the layer.
    """
    if n is not None or m is not None:
        if sparsity is not None or scope != "layer" or block != (1, 1) or n is None or m is None:
            raise ValueError("n and m go together, and instead of sparsity, scope and block")
        if not 0 < n < m:
            raise ValueError(f"n is {n} and m is {m}: of m weights at least one is kept, and not all")
        fractions = dict.fromkeys(weights_of(module, layers), 0.0)
    elif sparsity is None:
        raise ValueError("say how far to prune: a sparsity, or n and m")
    else:
        fractions = sparsity_by_layer(module, sparsity, scope, layers)
    if calibration is not None and scope == "global":
        raise ValueError("calibration goes layer by layer, so with scope='layer'")
    targets = weights_of(module, fractions)
    adopt_masks(module)

    if scope == "global":
        alone = {name: _below_all(slot.value.abs(), slot.last) for name, slot in targets.items()}
        scores = {name: _sum_blocks(name, score, block) for name, score in alone.items()}
        together = torch.cat([score.flatten() for score in scores.values()])
        keep = _keep_largest(together, cast(float, sparsity))
        parts = torch.split(keep, [score.numel() for score in scores.values()])
        masks = {
            name: _single(part.view_as(scores[name]), block, alone[name])
            for name, part in zip(scores, parts, strict=True)
        }
    else:
        rules = {
            name: partial(
                _keep, name=name, last=targets[name].last, sparsity=fractions[name], block=block, n=n, m=m
            )
            for name in targets
        }
        masks = {name: rule(targets[name].value.abs(), 1.0) for name, rule in rules.items()}

    for name, mask in masks.items():
        if not mask.any():
            raise ValueError(
                f"this sparsity leaves no weight in layer '{name}': lower it, or leave the layer out"
            )
    if calibration is not None:
        for name, slot in targets.items():
            if any(not isinstance(p, Mask) for p in slot.chain or ()):
                raise ValueError(
                    f"the weight of layer '{name}' has another parametrization: prune with calibration first"
                )
        masks = reconstruct(module, targets, rules, batches_of(calibration), progress)
    for name, mask in masks.items():
        _set_mask(targets[name], mask)
    return module


def sparsity_by_layer(
    module: nn.Module,
    sparsity: float | Mapping[str, float],
    scope: Scope = "layer",
    layers: Iterable[str] | None = None,
) -> dict[str, float]:
    """The sparsity `prune` would work towards in each layer, with the same arguments and errors."""
    if scope not in ("layer", "global"):
        raise ValueError(f"scope is {scope!r}: it must be 'layer' or 'global'")
    if isinstance(sparsity, Mapping):
        if scope == "global" or layers is not None:
            raise ValueError("sparsity by layer name goes with scope='layer' and without `layers`")
        layers = sparsity
    return per_layer("sparsity", sparsity, weights_of(module, layers), _fraction_problem)


def cubic_sparsity(step: int, steps: int, final: float, initial: float = 0.0) -> float:
    """Sparsity at `step` of a gradual schedule, fast at first and slow at the end (Zhu & Gupta, equation 1).

    `initial` at step 0, `final` from step `steps` on.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}: a schedule takes at least one")
    done = min(max(step / steps, 0.0), 1.0)
    return final + (initial - final) * (1.0 - done) ** 3


def sparsity_of(module: nn.Module) -> dict[str, float]:
    """The fraction of zeros in the weights of each linear, conv2d, LSTM and GRU layer."""
    weights = {name: slot.value for name, slot in weights_of(module).items()}
    return {name: 1.0 - int(weight.count_nonzero()) / weight.numel() for name, weight in weights.items()}


def adopt_masks(module: nn.Module) -> nn.Module:
    """Turn the masks that torch.nn.utils.prune left in `module` into `Mask` parametrizations, in place.

    Takes over every masked tensor (weights and biases) of every submodule. Returns `module`.
    """
    for layer in module.modules():
        masked = [
            name.removesuffix("_mask")
            for name, _ in layer.named_buffers(recurse=False)
            if name.endswith("_mask")
        ]
        for name in masked:
            if hasattr(layer, f"{name}_orig"):
                mask = cast(Tensor, getattr(layer, f"{name}_mask")).bool()
                torch_prune.remove(layer, name)  # type: ignore[no-untyped-call]
                Slot(layer, name).add(Mask(mask))
    return module


def _keep(
    score: Tensor,
    done: float,
    name: str,
    last: nn.Module | None,
    sparsity: float,
    block: tuple[int, int],
    n: int | None,
    m: int | None,
) -> Tensor:
    """True for the weights that are kept once a share `done` of those that are to go are gone."""
    score = _below_all(score, last)
    if n is not None and m is not None:
        return _keep_n_of_m(name, score, m - round(done * (m - n)), m)
    return _single(_keep_largest(_sum_blocks(name, score, block), done * sparsity), block, score)


def _below_all(score: Tensor, last: nn.Module | None) -> Tensor:
    """The scores of weights; below all others where the weight is pruned already."""
    return score.masked_fill(~last.mask, -1.0) if isinstance(last, Mask) else score


def _single(keep: Tensor, block: tuple[int, int], score: Tensor) -> Tensor:
    """Of weights what is kept of blocks; never weights that are pruned already."""
    single = keep.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1).view_as(score)
    return single & ~(score < 0)


def _sum_blocks(name: str, score: Tensor, block: tuple[int, int]) -> Tensor:
    """Scores of the blocks of a weight [outputs, inputs x taps]; below zero where all of one is pruned."""
    matrix = score.flatten(1)
    (rows, cols), (outputs, inputs) = matrix.shape, block
    if outputs < 1 or inputs < 1 or rows % outputs or cols % inputs:
        raise ValueError(
            f"blocks of {outputs}x{inputs} do not divide the {rows}x{cols} weights of layer '{name}': "
            f"choose another size, or leave the layer out"
        )
    blocks = matrix.view(rows // outputs, outputs, cols // inputs, inputs)
    pruned = (blocks < 0).all(3).all(1)
    return torch.where(pruned, -1.0, blocks.clamp(min=0).sum((1, 3)))


def _keep_n_of_m(name: str, score: Tensor, n: int, m: int) -> Tensor:
    """True for the n largest of every m consecutive inputs, the same tap of each; never for pruned ones."""
    inputs = score.shape[1]
    if inputs % m:
        raise ValueError(f"{m} does not divide the {inputs} inputs of layer '{name}': leave the layer out")
    last = score.movedim(1, -1)
    groups = last.reshape(*last.shape[:-1], inputs // m, m)
    keep = torch.zeros_like(groups, dtype=torch.bool)
    keep.scatter_(-1, groups.topk(n, dim=-1).indices, True)
    return keep.view_as(last).movedim(-1, 1).contiguous() & ~(score < 0)


def _keep_largest(score: Tensor, sparsity: float) -> Tensor:
    """True for all but the round(sparsity * n) smallest scores; never True for a score below zero."""
    keep = ~(score < 0)  # and not `score >= 0`, which would hide a NaN
    drop = torch.topk(score.flatten(), round(sparsity * score.numel()), largest=False, sorted=False).indices
    keep.view(-1)[drop] = False
    return keep


def _set_mask(slot: Slot, mask: Tensor) -> None:
    last = slot.last
    if isinstance(last, Mask):
        last.mask.copy_(mask)
    else:
        slot.add(Mask(mask))


def _fraction_problem(sparsity: float) -> str | None:
    return None if 0.0 <= sparsity < 1.0 else "it must be a fraction of zeros, 0 <= sparsity < 1"
