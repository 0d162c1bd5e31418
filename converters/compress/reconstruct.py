"""Pruning that looks at activations: which weights of a layer go, and what the others become, so that its
outputs stay what they were.

A layer computes Y = W X on the calibration inputs of the module as it was. Within the pruned module it sees
X', which the pruned layers below it have changed, and its weights W' minimize |W' X' - Y|^2: every row is a
least-squares problem over the weights that it keeps, whose normal equations take X' X'^T and X X'^T alone.

Frantar, Alistarh: "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot", ICML 2023 (least
squares layer by layer). Sun, Liu, Bair, Kolter: "A Simple and Effective Pruning Approach for Large Language
Models", ICLR 2024 (magnitude times the norm of the input). Frantar, Alistarh: "Optimal Brain Compression",
NeurIPS 2022 (the inputs of the pruned module, the outputs of the dense one).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from converters.compress.layers import PRODUCTS, Slot

STEPS = 4  # in which a layer's zeros come, the other weights being fitted after each
RIDGE = 0.05  # of the mean square of the inputs, by which weights are held to what they were

Masks = Callable[[Tensor, float], Tensor]
"""From scores in the shape of a weight, and the share of the zeros that are to be there, to what is kept."""


class _Enough(Exception):
    """All calls of a layer were seen; the rest of the forward pass would be in vain."""


def reconstruct(
    module: nn.Module,
    slots: Mapping[str, Slot],
    masks: Mapping[str, Masks],
    batches: Sequence[tuple[Tensor, ...]],
    progress: bool,
) -> dict[str, Tensor]:
    """Prunes the weights in `slots` one after the other, in the order in which the module calls them, and
    fits what is left of each; returns the masks.

    Layers that are given the same tensor (queries, keys, values) are done together. Raises ValueError naming
    a layer that is neither linear nor a convolution, or that no batch reaches.
    """
    for name, slot in slots.items():
        if not isinstance(slot.layer, PRODUCTS):
            raise ValueError(
                f"layer '{name}' cannot be pruned by calibration, which is for linear and conv2d layers: "
                "leave it out of `layers`, and prune it by magnitude"
            )
    kept: dict[str, Tensor] = {}
    with _eval(module), torch.no_grad():
        groups, calls = _order(module, slots, batches[0])
        dense = copy.deepcopy(module)
        for group in tqdm(groups, desc="prune", unit="layer", disable=None if progress else True):
            first = group[0]
            squares, cross = _products(module, dense, first, calls[first], batches)
            for name in group:
                kept[name] = _fit(slots[name], masks[name], squares, cross)
    return kept


@contextmanager
def _eval(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _order(
    module: nn.Module, slots: Mapping[str, Slot], batch: tuple[Tensor, ...]
) -> tuple[list[list[str]], dict[str, int]]:
    """Names in the order of the first call, those with the same inputs together, and numbers of calls."""
    seen: dict[str, list[Tensor]] = {}

    def see(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda layer, args: seen.setdefault(name, []).append(args[0])

    hooks = [slot.layer.register_forward_pre_hook(see(name)) for name, slot in slots.items()]
    try:
        module(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    for name in slots:
        if name not in seen:
            raise ValueError(f"the calibration inputs do not reach layer '{name}': leave it out of `layers`")
    groups: list[list[str]] = []
    for name, inputs in seen.items():
        for group in groups:
            others, alike = seen[group[0]], _form(slots[group[0]].layer) == _form(slots[name].layer)
            if alike and [id(x) for x in inputs] == [id(x) for x in others]:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups, {name: len(inputs) for name, inputs in seen.items()}


def _form(layer: nn.Module) -> object:
    """What the columns of a layer depend on besides its input."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size, layer.stride, layer.dilation, layer.padding, layer.groups
    return None


def _products(
    module: nn.Module, dense: nn.Module, name: str, calls: int, batches: Sequence[tuple[Tensor, ...]]
) -> tuple[Tensor, Tensor]:
    """X' X'^T and X X'^T, f64 [groups, K, K], for the inputs of a layer in `module` and in `dense`.

    Both are divided by the number of columns.
    """
    squares = cross = torch.zeros(())
    count = 0
    for batch in batches:
        for x, wanted in zip(
            _inputs(module, name, calls, batch), _inputs(dense, name, calls, batch), strict=True
        ):
            squares = squares + (x @ x.mT).double()
            cross = cross + (wanted @ x.mT).double()
            count += x.shape[-1]
    return squares / count, cross / count


def _inputs(module: nn.Module, name: str, calls: int, batch: tuple[Tensor, ...]) -> list[Tensor]:
    """What the layer is given in each of its calls, as columns [groups, K, n]."""
    found: list[Tensor] = []

    def see(layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(_columns(layer, args[0]))
        if len(found) == calls:
            raise _Enough

    hook = module.get_submodule(name).register_forward_pre_hook(see)
    try:
        module(*batch)
    except _Enough:
        pass
    finally:
        hook.remove()
    return found


def _columns(layer: nn.Module, x: Tensor) -> Tensor:
    if not isinstance(layer, nn.Conv2d):
        return x.reshape(-1, x.shape[-1]).mT[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = F.pad(x, layer._reversed_padding_repeated_twice, mode)
    taps = F.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    return taps.reshape(len(x), layer.groups, -1, taps.shape[-1]).permute(1, 2, 0, 3).flatten(2)


def _fit(slot: Slot, masks: Masks, squares: Tensor, cross: Tensor) -> Tensor:
    """Prunes one weight in STEPS, each from what the one before has fitted; returns the mask."""
    weight = slot.value
    groups, k = squares.shape[:2]
    before = weight.double().reshape(groups, -1, k)
    ridge = RIDGE * squares.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(k).to(squares)
    squares, cross = squares + ridge, cross + ridge
    target, norms = before @ cross, squares.diagonal(dim1=1, dim2=2).sqrt()[:, None]
    now = before
    for step in range(1, STEPS + 1):
        score = now.abs() * norms
        # In shares of the row's mean, or a row of small outputs would end up empty.
        score = score / score.mean(2, keepdim=True).clamp(min=1e-30)
        mask = masks(score.reshape(weight.shape), 1 - (1 - step / STEPS) ** 3)
        rows = mask.reshape(before.shape)
        now = torch.stack([_solve(*group) for group in zip(squares, target, rows, strict=True)])
    slot.assign(now.reshape(weight.shape).to(weight.dtype))
    return mask


def _solve(squares: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The rows w [M, K] with w squares = target where `mask` keeps, and 0 elsewhere."""
    fitted = torch.zeros_like(target)
    for row, kept in enumerate(mask):
        at = kept.nonzero().flatten()
        if len(at):
            factor = torch.linalg.cholesky(squares.index_select(0, at).index_select(1, at))
            fitted[row, at] = torch.cholesky_solve(target[row, at][:, None], factor)[:, 0]
    return fitted
