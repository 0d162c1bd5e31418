"""Lossy compression in torch: a module goes in, the same module comes back with its weights on a compressed
set.

What each function leaves behind is an ordinary ``torch.nn.Module``. It trains, evaluates, copies, saves its
state dict and exports as before; ``torch.nn.utils.parametrize`` keeps its weights on the set (zeros, k
distinct values, half precision, a product codebook) meanwhile. ``converters.convert`` then stores exactly
those weights.
"""

from converters.compress.binary import (
    BinaryConv2d,
    BinaryLinear,
    BinaryWeight,
    RPReLU,
    Sign,
    TernaryWeight,
    binary,
    clip_latent,
)
from converters.compress.cluster import SharedWeights, cluster
from converters.compress.dynamic import RoundTokens, quantize_dynamic
from converters.compress.half import Half, half
from converters.compress.integers import FakeQuantize, RowGrid
from converters.compress.mixed import Mixed, layer_noise, quantize_within
from converters.compress.pipeline import deep_compression
from converters.compress.product import ProductCodebook, product_quantize
from converters.compress.prune import Mask, adopt_masks, cubic_sparsity, prune, sparsity_of
from converters.compress.quant_noise import (
    QuantNoise,
    iterative_product_quantize,
    quant_noise,
    remove_quant_noise,
    share_layers,
)
from converters.compress.quantize import quantize
from converters.compress.weights import GroupGrid, quantize_weights

__all__ = [
    "BinaryConv2d",
    "BinaryLinear",
    "BinaryWeight",
    "FakeQuantize",
    "GroupGrid",
    "Half",
    "Mask",
    "Mixed",
    "ProductCodebook",
    "QuantNoise",
    "RPReLU",
    "RoundTokens",
    "RowGrid",
    "SharedWeights",
    "Sign",
    "TernaryWeight",
    "adopt_masks",
    "binary",
    "clip_latent",
    "cluster",
    "cubic_sparsity",
    "deep_compression",
    "half",
    "iterative_product_quantize",
    "layer_noise",
    "product_quantize",
    "prune",
    "quant_noise",
    "quantize",
    "quantize_dynamic",
    "quantize_weights",
    "quantize_within",
    "remove_quant_noise",
    "share_layers",
    "sparsity_of",
]
