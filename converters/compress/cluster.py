"""Weight sharing: the weights of a layer take k values, found by k-means and trained afterwards.

Han, Mao, Dally: "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and
Huffman Coding", ICLR 2016, section 3.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from converters.compress.layers import Slot, per_layer, weights_of
from converters.compress.prune import adopt_masks

Init = Literal["linear", "density", "random"]
Array = npt.NDArray[np.float64]

# The file format indexes a codebook with a byte.
MAX_VALUES = 256


class SharedWeights(nn.Module):
    """Parametrization whose parameter is the codebook: weight = codebook[index].

    index: uint8, the shape of the weight.
    size: number of centroids.
    with_zero: index 0 stands for zero, which is no centroid and does not train; index i for codebook[i - 1].

    The gradient of a centroid is the sum of its weights' gradients (equation 3 of the paper): that is what
    the backward pass of index_select computes.
    """

    index: Tensor

    def __init__(self, index: Tensor, size: int, with_zero: bool) -> None:
        super().__init__()
        self.size = size
        self.with_zero = with_zero
        self.register_buffer("index", index)

    def forward(self, codebook: Tensor) -> Tensor:
        values = F.pad(codebook, (1, 0)) if self.with_zero else codebook
        return values.index_select(0, self.index.flatten().int()).view_as(self.index)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook nearest to `weight` for this index: the mean of each centroid's weights."""
        index = self.index.flatten().long() - int(self.with_zero)
        member = index >= 0
        # In float64 the mean of equal float32 weights is exactly that weight.
        sums = torch.bincount(index[member], weight.flatten()[member].double(), minlength=self.size)
        counts = torch.bincount(index[member], minlength=self.size)
        return (sums / counts).to(weight.dtype)


def cluster(
    module: nn.Module,
    bits: int | Mapping[str, int] | None = None,
    k: int | Mapping[str, int] | None = None,
    init: Init = "linear",
    layers: Iterable[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> nn.Module:
    """Make the weights of each linear, conv2d, LSTM and GRU layer of `module` share at most k values, in
    place.

    bits, k: give one of them. Number of shared values per layer, k or 2**bits; or one for each layer name,
        others stay as they are. Zero is a value of its own on top: what is pruned stays exactly zero. At most
        256 values with the zero (so 8 bits mean 255 values and zero where a layer has zeros).
    init: first centroids, as in section 3.2 of the paper: "linear" spaces them evenly between the smallest
        and the largest weight, "density" evenly over the weights in rising order (quantiles), "random" draws
        k of the weights (Forgy).
    layers: names of the layers to cluster; all by default.
    seed: for init="random".

    Afterwards the parameter of such a weight is its codebook [k], which trains by the summed gradient of its
    members. Make a new optimizer: the state an old one keeps (momentum) has the shape of the full weight.

    A layer with no more than k distinct values keeps them exactly. Returns `module`. Raises ValueError naming
    the layer.
    """
    if init not in ("linear", "density", "random"):
        raise ValueError(f"init is {init!r}: it must be 'linear', 'density' or 'random'")
    sizes = centroids_by_layer(module, bits, k, layers)
    targets = weights_of(module, sizes)
    for name, slot in targets.items():
        if not slot.value.isfinite().all():
            raise ValueError(f"layer '{name}' has weights that are not finite and cannot be clustered")
    adopt_masks(module)

    rng = np.random.default_rng(seed)
    for name in tqdm(targets, desc="cluster", unit="layer", disable=None if progress else True):
        _share(targets[name], sizes[name], init, rng)
    return module


def centroids_by_layer(
    module: nn.Module,
    bits: int | Mapping[str, int] | None = None,
    k: int | Mapping[str, int] | None = None,
    layers: Iterable[str] | None = None,
) -> dict[str, int]:
    """The number of shared values `cluster` would aim at in each layer; same arguments, same errors."""
    if (bits is None) == (k is None):
        raise ValueError("give either bits or k")
    what, value = ("bits", bits) if bits is not None else ("k", k)
    if isinstance(value, Mapping):
        if layers is not None:
            raise ValueError(f"{what} by layer name goes without `layers`")
        layers = value
    largest = 8 if bits is not None else MAX_VALUES
    asked = per_layer(
        what,
        cast("int | Mapping[str, int]", value),
        weights_of(module, layers),
        lambda n: None if n in range(1, largest + 1) else f"it must be a whole number, 1 to {largest}",
    )
    return {name: 2**n for name, n in asked.items()} if bits is not None else asked


def _share(slot: Slot, k: int, init: Init, rng: np.random.Generator) -> None:
    weight = slot.value
    nonzero = weight != 0
    with_zero = not bool(nonzero.all())
    members = weight[nonzero].cpu().numpy().astype(np.float64)
    labels, size = _kmeans(members, min(k, MAX_VALUES - with_zero), init, rng)

    index = torch.zeros_like(weight, dtype=torch.uint8)
    index[nonzero] = torch.from_numpy(labels + with_zero).to(index)
    slot.replace(SharedWeights(index, size, with_zero))


def _kmeans(values: Array, k: int, init: Init, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], int]:
    """The cluster of each value, numbered 0..size-1 without gaps, and size <= k."""
    distinct, labels = np.unique(values, return_inverse=True)
    if len(distinct) <= k:
        return labels, len(distinct)
    start = _initial_centroids(values, k, init, rng)
    labels = KMeans(k, init=start[:, None], n_init=1).fit_predict(values[:, None])
    used, labels = np.unique(labels, return_inverse=True)
    return labels, len(used)


def _initial_centroids(values: Array, k: int, init: Init, rng: np.random.Generator) -> Array:
    if init == "linear":
        return np.linspace(values.min(), values.max(), k)
    if init == "density":
        # The middle of each k-th of the cumulative distribution.
        return np.quantile(values, (np.arange(k) + 0.5) / k)
    return rng.choice(values, k, replace=False)
