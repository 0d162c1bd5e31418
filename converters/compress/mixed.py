"""Mixed precision: which few layers of an integer network should stay in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from converters.compress.calibration import Batch
from converters.compress.integers import FakeQuantize, RowGrid
from converters.compress.quantize import quantize


@dataclass(frozen=True)
class Mixed:
    """What `quantize_within` found. module: as `quantize` returns it, with `kept` in float. score: of the
    module; exact: of the float one. noise: what `layer_noise` says of all layers in integers.
    """

    module: fx.GraphModule
    kept: list[str]
    score: float
    exact: float
    noise: Mapping[str, float] = field(repr=False)


def quantize_within(
    module: nn.Module,
    calibration: Iterable[Batch],
    evaluate: Callable[[nn.Module], float],
    drop: float,
    **options: Any,
) -> Mixed:
    """`quantize`, with as few layers in float as it takes to lose no more than `drop`.

    evaluate: scores a module, the higher the better, such as its accuracy; `drop` is in its units. options:
    of `quantize`; layers of its `skip` stay in float in any case. Layers are tried in the order of the noise
    that their integers add, the worst first: bisection finds how many of them must be float, then every one
    goes back to integers if the score allows it. That takes a quantization and an evaluation for each step.

    Raises ValueError as `quantize` does, or if even one integer layer costs more than `drop`.
    """
    batches = list(calibration)
    always = set(options.pop("skip", ()))
    exact = evaluate(module)
    tried: dict[frozenset[str], tuple[fx.GraphModule, float]] = {}

    def with_float(kept: Iterable[str]) -> tuple[fx.GraphModule, float]:
        key = frozenset(kept)
        if key not in tried:
            integers = quantize(module, batches, skip=always | key, **options)
            tried[key] = integers, evaluate(integers)
        return tried[key]

    def good(kept: Iterable[str]) -> bool:
        return with_float(kept)[1] >= exact - drop

    noise = layer_noise(with_float(())[0], batches)
    worst = list(noise)
    low, high = 0, len(worst) - 1  # one layer at least is integers
    if not good(worst[:high]):
        score = with_float(worst[:high])[1]
        raise ValueError(
            f"with layer '{worst[-1]}' alone in integers the score is {score:g} instead of {exact:g}: no "
            f"layer can be quantized within a drop of {drop:g}"
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if good(worst[:middle]) else (middle + 1, high)
    kept = worst[:high]
    for name in reversed(worst[:high]):
        fewer = [other for other in kept if other != name]
        if good(fewer):
            kept = fewer
    integers, score = with_float(kept)
    return Mixed(integers, kept, score, exact, noise)


def layer_noise(integers: nn.Module, calibration: Iterable[Batch]) -> dict[str, float]:
    """Of each layer of what `quantize` returned, worst first: the power of the error that the rounding of its
    input and of its weight make, over the power of its output (or input).
    """
    rounding: dict[int, float] = {}  # of what a FakeQuantize made last, by the id of the tensor
    kept: list[Tensor] = []  # so that ids are not used again
    sums: dict[str, float] = {}

    def ratio(error: Tensor, signal: Tensor) -> float:
        return float(error.double().square().sum() / signal.double().square().sum().clamp(min=1e-30))

    def rounded(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rounding[id(output)] = ratio(output - inputs[0], inputs[0])
        kept.append(output)

    def multiplied(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
        weights = cast(nn.ModuleDict, layer.parametrizations)["weight"]
        original, used = cast(Tensor, weights.original), cast(Tensor, layer.weight)
        error = _apply(layer, x, used - original)
        sums[name] = sums.get(name, 0.0) + ratio(error, y) + rounding.get(id(x), 0.0)

    hooks = []
    for name, part in integers.named_modules():
        if isinstance(part, FakeQuantize):
            hooks.append(part.register_forward_hook(rounded))
        elif parametrize.is_parametrized(part, "weight"):
            grids = cast(nn.ModuleDict, part.parametrizations)["weight"]
            if isinstance(cast(nn.ModuleList, grids)[0], RowGrid):
                hooks.append(
                    part.register_forward_hook(
                        lambda layer, inputs, y, name=name: multiplied(name, layer, inputs[0], y)
                    )
                )
    with torch.no_grad():
        for batch in calibration:
            integers(*((batch,) if isinstance(batch, Tensor) else batch))
            rounding.clear()
            kept.clear()
    for hook in hooks:
        hook.remove()
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _apply(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The layer without bias, with another weight."""
    if isinstance(layer, nn.Conv2d):
        return cast(Tensor, layer._conv_forward(x, weight, None))
    return nn.functional.linear(x, weight)
