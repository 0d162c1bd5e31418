"""Weight sharing: the weights of a layer take k values, found by k-means or evenly spaced, and trained
afterwards.

Han, Mao, Dally: "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained Quantization and
Huffman Coding", ICLR 2016, section 3. Choi, El-Khamy, Lee: "Towards the Limit of Network Quantization", ICLR
2017, section 5: under a code of variable length, evenly spaced values lose least.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from converters.compress.layers import SHARING, Slot, per_layer, weights_of
from converters.compress.prune import adopt_masks

Init = Literal["linear", "density", "random"]
T = TypeVar("T")
Array = npt.NDArray[np.float64]
Labels = tuple[npt.NDArray[np.intp], int]


class Split(Protocol):
    def __call__(self, values: Array, most: int) -> Labels:
        """The cluster of each value, numbered 0..size-1 without gaps, and size <= most."""


# The file format indexes a codebook with a byte.
MAX_VALUES = 256
BISECTIONS = 24  # of the step of an even grid
MAX_CELLS = 2**14  # of an even grid, before those of few weights are joined


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
    entropy: float | Mapping[str, float] | None = None,
) -> nn.Module:
    """Make the weights of each linear, conv2d, embedding, LSTM and GRU layer of `module` share few values, in
    place.

    bits, k, entropy: give one of them, for all layers or for each layer name; others stay as they are.
        bits, k: number of values of a layer, k or 2**bits, found by k-means. Zero is a value of its own on
        top: what is pruned stays exactly zero. At most 256 values with the zero (so 8 bits mean 255 values
        and zero where a layer has zeros).
        entropy: bits that a weight (of those that are not zero) takes on average once it is Huffman-coded,
        above 0, up to 8, as in 3.5. The values are evenly spaced, as closely as that allows, and rare ones
        lie far out. For the same bytes the error is much smaller than that of 2**bits values where a layer
        has outliers; convert with prefer="size", for an index takes up to a byte without the coding.
    init: first centroids of k-means, as in section 3.2 of the paper: "linear" spaces them evenly between the
        smallest and the largest weight, "density" evenly over the weights in rising order (quantiles),
        "random" draws k of the weights (Forgy).
    layers: names of the layers to cluster; all by default.
    seed: for init="random".

    Afterwards the parameter of such a weight is its codebook [k], which trains by the summed gradient of its
    members. Make a new optimizer: the state an old one keeps (momentum) has the shape of the full weight.

    A layer with no more values, or bits of entropy, than asked for keeps them exactly. Returns `module`.
    Raises ValueError naming the layer.
    """
    if init not in ("linear", "density", "random"):
        raise ValueError(f"init is {init!r}: it must be 'linear', 'density' or 'random'")
    rng = np.random.default_rng(seed)
    splits: dict[str, Split]
    if entropy is None:
        sizes = centroids_by_layer(module, bits, k, layers)
        splits = {name: partial(_kmeans, k=size, init=init, rng=rng) for name, size in sizes.items()}
    else:
        if bits is not None or k is not None:
            raise ValueError("give only one of bits, k and entropy")
        asked = _asked(
            module,
            "entropy",
            entropy,
            layers,
            lambda n: None if 0 < n <= 8 else "it must be a number above 0, up to 8",
        )
        splits = {name: partial(_even, entropy=bits) for name, bits in asked.items()}
    targets = weights_of(module, splits, SHARING)
    for name, slot in targets.items():
        if not slot.value.isfinite().all():
            raise ValueError(f"layer '{name}' has weights that are not finite and cannot be clustered")
    adopt_masks(module)

    for name in tqdm(targets, desc="cluster", unit="layer", disable=None if progress else True):
        _share(targets[name], splits[name])
    return module


def centroids_by_layer(
    module: nn.Module,
    bits: int | Mapping[str, int] | None = None,
    k: int | Mapping[str, int] | None = None,
    layers: Iterable[str] | None = None,
) -> dict[str, int]:
    """The number of shared values `cluster` would aim at in each layer; same arguments, same errors."""
    if (bits is None) == (k is None):
        raise ValueError("give one of bits, k and entropy")
    what, value = ("bits", bits) if bits is not None else ("k", k)
    largest = 8 if bits is not None else MAX_VALUES
    asked = _asked(
        module,
        what,
        cast("int | Mapping[str, int]", value),
        layers,
        lambda n: None if n in range(1, largest + 1) else f"it must be a whole number, 1 to {largest}",
    )
    return {name: 2**n for name, n in asked.items()} if bits is not None else asked


def _asked(
    module: nn.Module,
    what: str,
    value: T | Mapping[str, T],
    layers: Iterable[str] | None,
    check: Callable[[T], str | None],
) -> dict[str, T]:
    """What is asked for each layer."""
    if isinstance(value, Mapping):
        if layers is not None:
            raise ValueError(f"{what} by layer name goes without `layers`")
        layers = value
    return per_layer(what, value, weights_of(module, layers, SHARING), check)


def _share(slot: Slot, split: Split) -> None:
    weight = slot.value
    nonzero = weight != 0
    with_zero = not bool(nonzero.all())
    members = weight[nonzero].cpu().numpy().astype(np.float64)
    labels, size = split(members, most=MAX_VALUES - with_zero)

    index = torch.zeros_like(weight, dtype=torch.uint8)
    index[nonzero] = torch.from_numpy(labels + with_zero).to(index)
    slot.replace(SharedWeights(index, size, with_zero))


def _kmeans(values: Array, most: int, k: int, init: Init, rng: np.random.Generator) -> Labels:
    """The cluster of each value, numbered 0..size-1 without gaps, and size <= min(k, most)."""
    k = min(k, most)
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


def _even(values: Array, most: int, entropy: float) -> Labels:
    """The cell of each value on a grid through zero, as fine as `entropy` bits a value allow; numbered
    0..size-1 without gaps, and size <= most.
    """
    ordered = np.sort(values)
    firsts = np.flatnonzero(np.diff(ordered, prepend=np.nan))  # of the distinct values
    if len(firsts) <= most and _entropy(np.diff(firsts, append=len(ordered))) <= entropy:
        return np.searchsorted(ordered[firsts], values), len(firsts)
    # Entropy falls as the step grows, from far too much to 0 in one cell for all.
    peak = max(-ordered[0], ordered[-1])
    low, high = np.log2(2 * peak / MAX_CELLS), np.log2(4 * peak)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        starts = np.searchsorted(ordered, _edges(ordered, 2**middle))
        enough = _entropy(np.diff(starts, prepend=0, append=len(ordered))) <= entropy
        low, high = (low, middle) if enough else (middle, high)
    edges = _join(ordered, _edges(ordered, 2**high), most)
    return np.searchsorted(edges, values), len(edges) + 1


def _edges(ordered: Array, step: float) -> Array:
    """The edges between the cells around multiples of `step` that rising values reach."""
    first, last = np.rint(ordered[[0, -1]] / step)
    return (np.arange(first, last) + 0.5) * step


def _entropy(counts: npt.NDArray[np.intp]) -> float:
    """Bits a symbol."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _join(ordered: Array, edges: Array, most: int) -> Array:
    """The edges that are left when no cell of the rising values is empty and neighbours are joined, those
    that add the least squared error first, until there are no more than `most` cells (Ward, 1963).
    """
    starts = np.searchsorted(ordered, edges)
    filled = np.diff(starts, prepend=0) > 0  # the cell before an edge; the last cell has the largest value
    edges, starts = edges[filled], starts[filled]
    n = np.diff(starts, prepend=0, append=len(ordered)).astype(np.float64)
    mean = np.add.reduceat(ordered, np.append(0, starts)) / n
    while len(n) > most:
        i = int(np.argmin(n[:-1] * n[1:] / (n[:-1] + n[1:]) * np.diff(mean) ** 2))
        mean[i] = np.average(mean[i : i + 2], weights=n[i : i + 2])
        n[i] += n[i + 1]
        edges, n, mean = np.delete(edges, i), np.delete(n, i + 1), np.delete(mean, i + 1)
    return edges
