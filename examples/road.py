"""The whole road of one net: train, compress, convert, load, infer the held-out part with both engines."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pyruntime
from converters import convert
from examples.data import Digits
from examples.training import Recipe, accuracy, compress, predict, train_dense


@dataclass(frozen=True)
class Road:
    """Accuracies in percent of the held-out images; differences between the logits of torch and pyruntime."""

    parameters: int
    dense_bytes: int
    file_bytes: int
    accuracy_dense: float
    accuracy_compressed: float
    accuracy_pyruntime: float
    max_difference: float
    equal_predictions: int
    images: int

    @property
    def ratio(self) -> float:
        return self.dense_bytes / self.file_bytes

    @property
    def loss(self) -> float:
        """Points of accuracy lost, in pyruntime against the dense net."""
        return self.accuracy_dense - self.accuracy_pyruntime


def travel(
    make_net: Callable[[], nn.Module], data: Digits, recipe: Recipe, path: Path
) -> tuple[Road, nn.Module]:
    """Trains `make_net()` on the training part and leaves the compressed net in `path`.

    Returns the figures, and the compressed weights in a plain net, as torch would run it. Raises RuntimeError
    if pyruntime and torch disagree on the class of any image.
    """
    torch.manual_seed(0)
    net = make_net()
    train_dense(net, data.train_x, data.train_y, recipe)
    dense = predict(net, data.test_x)
    dense_bytes = sum(4 * tensor.numel() for tensor in net.state_dict().values())

    compress(net, data.train_x, data.train_y, recipe)
    net.eval()
    compressed = predict(net, data.test_x)
    convert(net, (data.test_x[:1],), path, prefer="size")
    with pyruntime.load(path) as model:
        logits = torch.from_numpy(_infer(model, data.test_x))

    plain = make_net().eval()
    layers = dict(net.named_modules())
    plain.load_state_dict(
        {
            name: getattr(layers[name.rpartition(".")[0]], name.rpartition(".")[2])
            for name in plain.state_dict()
        }
    )
    road = Road(
        parameters=dense_bytes // 4,
        dense_bytes=dense_bytes,
        file_bytes=path.stat().st_size,
        accuracy_dense=accuracy(dense, data.test_y),
        accuracy_compressed=accuracy(compressed, data.test_y),
        accuracy_pyruntime=accuracy(logits, data.test_y),
        max_difference=(compressed - logits).abs().max().item(),
        equal_predictions=int((compressed.argmax(1) == logits.argmax(1)).sum()),
        images=len(data.test_x),
    )
    if road.equal_predictions != road.images:
        raise RuntimeError(f"{path.name}: pyruntime and torch predict differently: {road}")
    return road, plain


def _infer(model: pyruntime.Model, x: Tensor) -> np.ndarray:
    return np.concatenate([model.infer(part.numpy()) for part in x.split(1000)])
