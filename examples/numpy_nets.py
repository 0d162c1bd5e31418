"""The two LeNets in plain numpy: the baseline that needs nothing else. Weights by their state dict names."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def lenet300(w: Mapping[str, Array], x: Array) -> Array:
    """x [N, 1, 28, 28] -> logits [N, 10]."""
    x = np.maximum(x.reshape(len(x), -1) @ w["fc1.weight"].T + w["fc1.bias"], 0)
    x = np.maximum(x @ w["fc2.weight"].T + w["fc2.bias"], 0)
    return x @ w["fc3.weight"].T + w["fc3.bias"]


def lenet5(w: Mapping[str, Array], x: Array) -> Array:
    """x [N, 1, 28, 28] -> logits [N, 10]."""
    x = _pool(np.maximum(_conv(x, w["conv1.weight"], w["conv1.bias"]), 0))
    x = _pool(np.maximum(_conv(x, w["conv2.weight"], w["conv2.bias"]), 0))
    x = np.maximum(x.reshape(len(x), -1) @ w["fc1.weight"].T + w["fc1.bias"], 0)
    return x @ w["fc2.weight"].T + w["fc2.bias"]


def _conv(x: Array, weight: Array, bias: Array) -> Array:
    """im2col and one matrix product."""
    n, c, _, _ = x.shape
    m, _, kh, kw = weight.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (2, 3))  # [n, c, h, w, kh, kw]
    h, w = windows.shape[2:4]
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, c * kh * kw, h * w)
    return (weight.reshape(m, -1) @ columns).reshape(n, m, h, w) + bias[:, None, None]


def _pool(x: Array) -> Array:
    """Max over 2x2."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
