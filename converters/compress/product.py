"""Product quantization: the weights of a layer are blocks of d neighbours, each one of k codewords.

Stock, Joulin, Gribonval, Graham, Jegou: "And the Bit Goes Down: Revisiting the Quantization of Neural
Networks", ICLR 2020. Fan, Stock et al.: "Training with Quantization Noise for Extreme Model Compression",
ICLR 2021 (whose int8 centroids these are).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from converters.compress.layers import SHARING, Slot, weights_of
from converters.compress.prune import adopt_masks

MAX_CODEWORDS = 256  # the file format counts them with a byte
MAX_BLOCK = 64
ITERATIONS = 25
SAMPLE = 256  # blocks per codeword that k-means looks at
LARGEST = 127  # of an int8 centroid

Blocks = npt.NDArray[np.float32]


class _Lookup(torch.autograd.Function):
    """codebook[index] [n, d]; the gradient of a codeword is the mean of its members' gradients."""

    @staticmethod
    def forward(ctx: Any, codebook: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(codebook)
        return codebook.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        sums = grads[0].new_zeros(ctx.size, grads[0].shape[1]).index_add_(0, index, grads[0])
        return sums / torch.bincount(index, minlength=ctx.size).clamp(min=1)[:, None], None


class _RoundToGrid(torch.autograd.Function):
    """Rounds to scale * {-127..127}, which covers all of x; gradients pass straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scale = x.abs().amax().clamp(min=1e-30) / LARGEST
        return (x / scale).round() * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class ProductCodebook(nn.Module):
    """Parametrization whose parameter is the codebook [k, d]: block i of the weight is codebook[index[i]].

    index: uint8 [weights / d], the codeword of each block of d neighbours in the weight's memory order.
    shape: of the weight.
    with_zero: index 0 stands for a block of zeros, which is no codeword and does not train; index i for
        codebook[i - 1].
    int8: codewords are rounded to scale * {-127..127}, scale = largest magnitude / 127; gradients pass
        straight through.

    The gradient of a codeword is the mean of its blocks' gradients ("And the Bit Goes Down", section 3.3).
    """

    index: Tensor

    def __init__(
        self, index: Tensor, shape: torch.Size, size: int, block: int, with_zero: bool, int8: bool
    ) -> None:
        super().__init__()
        self.shape, self.size, self.block = shape, size, block
        self.with_zero, self.int8 = with_zero, int8
        self.register_buffer("index", index)

    def forward(self, codebook: Tensor) -> Tensor:
        codewords: Tensor = codebook
        if self.int8:
            codewords = _RoundToGrid.apply(codebook)  # type: ignore[no-untyped-call]
        if self.with_zero:
            codewords = torch.cat([torch.zeros_like(codewords[:1]), codewords])
        blocks: Tensor = _Lookup.apply(codewords, self.index.int())  # type: ignore[no-untyped-call]
        return blocks.reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook nearest to `weight` for this index: the mean of each codeword's blocks."""
        index = self.index.long() - int(self.with_zero)
        member = index >= 0
        # In float64 the mean of equal float32 blocks is exactly that block.
        blocks = weight.detach().reshape(-1, self.block)[member].double()
        sums = blocks.new_zeros(self.size, self.block).index_add_(0, index[member], blocks)
        counts = torch.bincount(index[member], minlength=self.size).clamp(min=1)
        return (sums / counts[:, None]).to(weight.dtype)


def product_quantize(
    module: nn.Module,
    block: int | Mapping[str, int] | None = None,
    codewords: int = 256,
    layers: Iterable[str] | None = None,
    int8_centroids: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> nn.Module:
    """Make every block of d neighbouring weights of a layer one of at most 256 codewords, in place.

    Linear, conv2d, embedding, LSTM and GRU layers; a weight is a matrix [outputs, inputs x taps] (or [tokens,
    features]) whose rows are cut into blocks.

    block: d, 2 to 64, which divides the length of a row; or one for each layer name or pattern
        (`{"*.attention.*": 4, "*.output.*": 8}`; the first that fits counts, others stay as they are). By
        default 8, and for kernels the taps of one channel (9 of 3x3).
    codewords: the most that a layer has, 2 to 256.
    layers: names of the layers to quantize. By default all but depthwise convolutions, which are small.
    int8_centroids: the values of a layer's codewords lie on an int8 grid with one scale.
    seed: for k-means, which looks at no more than 256 blocks per codeword.

    Blocks that are zero (pruned) stay exactly zero, as a codeword of their own. Afterwards the parameter of
    such a weight is its codebook [k, d], which trains by the mean gradient of its members. Make a new
    optimizer: the state an old one keeps (momentum) has the shape of the full weight. A layer quantized
    before is quantized anew, from the weights it has now.

    A layer with no more than `codewords` distinct blocks keeps them exactly (before rounding to int8).
    Returns `module`. Raises ValueError naming the layer.
    """
    if codewords not in range(2, MAX_CODEWORDS + 1):
        raise ValueError(f"codewords is {codewords!r}: it must be a whole number, 2 to {MAX_CODEWORDS}")
    blocks = blocks_by_layer(module, block, layers)
    targets = weights_of(module, blocks, SHARING)
    for name, slot in targets.items():
        if not slot.value.isfinite().all():
            raise ValueError(f"layer '{name}' has weights that are not finite and cannot be quantized")
    adopt_masks(module)
    for name in tqdm(targets, desc="product quantization", unit="layer", disable=None if progress else True):
        _quantize(targets[name], blocks[name], codewords, int8_centroids, seed)
    return module


def blocks_by_layer(
    module: nn.Module,
    block: int | Mapping[str, int] | None = None,
    layers: Iterable[str] | None = None,
) -> dict[str, int]:
    """The block size `product_quantize` would use in each layer; same arguments, same errors."""
    candidates = weights_of(module, layers, SHARING)
    if isinstance(block, Mapping):
        if layers is not None:
            raise ValueError("block by layer name goes without `layers`")
        for pattern in block:
            if not any(fnmatchcase(name, pattern) for name in candidates):
                raise ValueError(
                    f"block names '{pattern}', which no layer fits; there are: {', '.join(candidates)}"
                )
        first = {name: next((p for p in block if fnmatchcase(name, p)), None) for name in candidates}
        sizes = {name: block[pattern] for name, pattern in first.items() if pattern is not None}
    else:
        sizes = {
            name: block or _default_block(slot.layer)
            for name, slot in candidates.items()
            if layers is not None or not _depthwise(slot.layer)
        }
    for name, size in sizes.items():
        row = prod(candidates[name].value.shape[1:])
        if size not in range(2, MAX_BLOCK + 1) or row % size:
            raise ValueError(
                f"block of layer '{name}' is {size!r}: it must be a whole number, 2 to {MAX_BLOCK}, "
                f"that divides the {row} weights of a row; give another one by name, or leave the layer out"
            )
    return sizes


def _default_block(layer: nn.Module) -> int:
    taps = prod(layer.kernel_size) if isinstance(layer, nn.Conv2d) else 1
    return taps if taps > 1 else 8


def _depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.in_channels == layer.groups > 1


def _quantize(slot: Slot, block: int, codewords: int, int8: bool, seed: int) -> None:
    slot.replace(fit_codewords(slot.value, block, codewords, int8, seed))


def fit_codewords(weight: Tensor, block: int, codewords: int, int8: bool, seed: int) -> ProductCodebook:
    """The parametrization of k-means for `weight`; its `right_inverse` gives the codebook."""
    blocks = weight.reshape(-1, block).float().cpu().numpy()
    used = blocks.any(1)
    with_zero = not used.all()
    labels, size = _kmeans(blocks[used], codewords - with_zero, seed)
    index = np.zeros(len(blocks), np.uint8)
    index[used] = labels + with_zero
    at = torch.from_numpy(index).to(weight.device)
    return ProductCodebook(at, weight.shape, size, block, bool(with_zero), int8)


def _kmeans(blocks: Blocks, k: int, seed: int) -> tuple[npt.NDArray[np.intp], int]:
    """The cluster of each block [n, d], numbered 0..size-1 without gaps, and size <= k."""
    if len(np.unique(blocks[: 4 * k], axis=0)) <= k:
        distinct, labels = np.unique(blocks, axis=0, return_inverse=True)
        if len(distinct) <= k:
            return labels.ravel(), len(distinct)
    found = faiss.Kmeans(
        blocks.shape[1],
        k,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE,
    )
    found.train(blocks)
    _, nearest = found.index.search(blocks, 1)
    used, labels = np.unique(nearest.ravel(), return_inverse=True)
    return labels, len(used)
