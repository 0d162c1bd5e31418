"""Quant-Noise: in training, some blocks of the weights are quantized in every forward pass, others each time.

Fan, Stock, Graham, Grave, Gribonval, Jegou, Joulin: "Training with Quantization Noise for Extreme Model
Compression", ICLR 2021; also iterative product quantization and shared chunks of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from converters.compress.layers import SHARING, Slot, weights_of
from converters.compress.product import (
    ProductCodebook,
    blocks_by_layer,
    fit_codewords,
    product_quantize,
)

Kind = Literal["int8", "int4", "product", "proxy"]
LARGEST = {"int8": 127, "int4": 7}


class QuantNoise(nn.Module):
    """Parametrization: in training, each block of the weight is quantized with probability p, anew each time.

    Gradients pass straight through to all weights. In eval mode, and under no_grad, the weight is as it is.
    """

    def __init__(self, kind: Kind, p: float, block: int, product: ProductCodebook | None) -> None:
        super().__init__()
        self.kind, self.p, self.block, self.product = kind, p, block, product

    def forward(self, weight: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return weight
        with torch.no_grad():
            row = weight[0].numel()
            chosen = torch.rand(len(weight), -(-row // self.block), device=weight.device) < self.p
            chosen = chosen.repeat_interleave(self.block, 1)[:, :row].reshape(weight.shape)
            noise = torch.where(chosen, self._quantized(weight) - weight, 0.0)
        return weight + noise

    def _quantized(self, weight: Tensor) -> Tensor:
        if self.product is not None:
            # Blocks keep their codeword, which is the mean of what they are by now.
            return cast(Tensor, self.product(self.product.right_inverse(weight)))
        if self.kind == "proxy":
            return torch.zeros_like(weight)
        peak = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True).clamp(min=1e-30)
        scale = peak / LARGEST[self.kind]
        return (weight / scale).round() * scale

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, p={self.p}, block={self.block}"


def quant_noise(
    module: nn.Module,
    kind: Kind,
    p: float,
    block: int | Mapping[str, int] | None = None,
    codewords: int = 256,
    layers: Iterable[str] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Train with quantization noise: from now on, in training mode, a random share of the weights is
    quantized in every forward pass, so that the others learn to make up for it. In place.

    kind: what a chosen block becomes. "int8", "int4": rounded to a grid per row; "product": its codeword, of
        a k-means of now (call again, say once an epoch, for another); "proxy": zero, a cheap stand-in for
        "product" that needs no k-means.
    p: the probability of a block, 0 to 1. The paper takes 0.05 to 0.1 for large transformers; small nets and
        few codewords gain more from 0.4 (bench/quant_noise.py).
    block, layers: as product_quantize takes them. codewords, seed: of "product".

    Linear, conv2d, embedding, LSTM and GRU layers. Calling it again replaces the noise. When training is
    done, `remove_quant_noise` takes it away; then quantize (`product_quantize`, `quantize`,
    `quantize_weights`). Returns `module`. Raises ValueError naming the layer.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}: it must be one of {', '.join(get_args(Kind))}")
    if not 0 <= p <= 1:
        raise ValueError(f"p is {p!r}: it must be a probability, 0 to 1")
    blocks = blocks_by_layer(module, block, layers)
    remove_quant_noise(module)
    for name, slot in weights_of(module, blocks, SHARING).items():
        product = None
        if kind == "product":
            product = fit_codewords(slot.value, blocks[name], codewords, False, seed)
        slot.add(QuantNoise(kind, p, blocks[name], product))
    return module


def remove_quant_noise(module: nn.Module) -> nn.Module:
    """Takes the noise of `quant_noise` away, in place; weights and other parametrizations stay.

    Returns `module`.
    """
    for layer in list(module.modules()):
        for name in (
            list(cast(nn.ModuleDict, layer.parametrizations)) if parametrize.is_parametrized(layer) else []
        ):
            slot = Slot(layer, name)
            chain = cast(nn.ModuleList, slot.chain)
            if len(chain) and isinstance(chain[-1], QuantNoise):
                del chain[-1]
            if len(chain) == 0:  # that of a tied layer may have been emptied before
                _plain(slot)
    return module


def _plain(slot: Slot) -> None:
    """Makes the weight a parameter again, the same one, so that an optimizer goes on."""
    layer, name = slot.layer, slot.name
    parametrizations = cast(nn.ModuleDict, layer.parametrizations)
    original = cast(nn.Parameter, parametrizations[name].original)
    if len(parametrizations) > 1:
        del parametrizations[name]
        # Copies made by deepcopy share the class, so this layer gets one of its own without the property.
        present = type(layer)
        rest = {k: v for k, v in vars(present).items() if k not in (name, "__dict__", "__weakref__")}
        layer.__class__ = type(present.__name__, present.__bases__, rest)
    else:
        # Not parametrize.remove_parametrizations: it takes the property `weight` from the class, which copies
        # made by deepcopy share.
        del layer.parametrizations
        layer.__class__ = type(layer).__bases__[0]
    layer.register_parameter(name, original)


def iterative_product_quantize(
    module: nn.Module,
    train: Callable[[nn.Module, str], None],
    block: int | Mapping[str, int] | None = None,
    codewords: int = 256,
    layers: Iterable[str] | None = None,
    int8_centroids: bool = False,
    seed: int = 0,
) -> nn.Module:
    """Product quantization layer by layer, each followed by training, so that the layers above make up for
    the error of those below. In place.

    train(module, name): trains after layer `name` was quantized, with a new optimizer over
        `module.parameters()`: the layers not yet quantized, and codebooks, by the mean gradient of their
        blocks. The labels may be the outputs of a copy of the module made before (distillation).
    Other arguments as product_quantize takes them. Layers go in the order of `module.named_modules()`, which
    is from the bottom up in most modules; `block` by name does not change it.

    Returns `module`. Raises ValueError naming the layer.
    """
    remove_quant_noise(module)
    for name, size in blocks_by_layer(module, block, layers).items():
        product_quantize(module, size, codewords, [name], int8_centroids, seed, progress=False)
        train(module, name)
    return module


def share_layers(module: nn.Module, chunks: Iterable[Sequence[str]]) -> nn.Module:
    """Makes the layers of each chunk one: the first takes the place of the others, in place.

    chunks: names of modules alike, [["encoder.0", "encoder.1"], ["encoder.2", "encoder.3"]]. What they share
        is stored once in the file. Train afterwards.

    Returns `module`. Raises ValueError if modules of a chunk differ in their type or the shapes of their
    parameters, or one is inside another.
    """

    def form(name: str) -> object:
        part = module.get_submodule(name)
        return type(part), [(n, tuple(t.shape)) for n, t in part.state_dict().items()]

    for first, *others in map(list, chunks):
        for name in others:
            if form(name) != form(first):
                raise ValueError(f"'{first}' and '{name}' are not alike and cannot share their weights")
            if (name + ".").startswith(first + ".") or (first + ".").startswith(name + "."):
                raise ValueError(f"'{first}' and '{name}' are not two modules side by side")
        for name in others:
            module.set_submodule(name, module.get_submodule(first))
    return module
