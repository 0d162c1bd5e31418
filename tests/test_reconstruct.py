"""Pruning by calibration: what is left of a layer is its least-squares fit, and the net stays near itself."""

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from converters.compress import cluster, prune, sparsity_of
from converters.compress.reconstruct import RIDGE, _columns


class Small(nn.Module):
    """Convolutions, one of them in groups, and one linear layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, stride=2, groups=2, padding="valid")
        self.again = nn.Linear(16, 16)
        self.left, self.right = nn.Linear(16, 8), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x)))).mean((2, 3))
        x = F.relu(self.again(F.relu(self.again(x))))
        y: Tensor = self.left(x) * self.right(x)
        return y


def images(n: int, seed: int) -> Tensor:
    """Their channels depend on each other, as those of any activation do."""
    torch.manual_seed(seed)
    mix = torch.tensor([[1.0, 0.8, 0.2], [0.0, 0.5, 0.9], [0.1, 0.0, 0.4]])
    return torch.einsum("nchw,cd->ndhw", torch.randn(n, 3, 8, 8), mix)


@pytest.mark.parametrize(
    "how",
    [{"sparsity": 0.7}, {"sparsity": 0.5, "block": (4, 1)}, {"n": 2, "m": 4, "layers": ["second", "again"]}],
)
def test_outputs_stay_nearer_than_by_magnitude(how):
    torch.manual_seed(0)
    dense = Small().train()
    dense.second.eval()
    by_magnitude, fitted = prune(copy.deepcopy(dense), **how), copy.deepcopy(dense)
    weight = fitted.first.weight
    prune(fitted, **how, calibration=[images(40, i) for i in range(4)], progress=False)
    assert sparsity_of(fitted) == pytest.approx(sparsity_of(by_magnitude), abs=1e-9)
    if "block" in how:
        kept = (fitted.second.weight != 0).view(4, 4, -1)
        assert torch.equal(kept.any(1), kept.all(1))
    if "n" in how:
        assert ((fitted.again.weight != 0).view(-1, 4).sum(1) == 2).all()
        assert ((fitted.second.weight != 0).movedim(1, -1).reshape(-1, 4).sum(1) == 2).all()
    parts = dict(fitted.named_parameters())
    assert parts.get("first.weight", parts.get("first.parametrizations.weight.original")) is weight
    assert fitted.first.training and not fitted.second.training
    x = images(100, 9)
    with torch.no_grad():
        errors = [((net(x) - dense(x)) ** 2).mean() for net in (by_magnitude, fitted)]
    assert errors[1] < 0.5 * errors[0]
    # What is pruned stays so through training.
    before = sparsity_of(fitted)
    optimizer = torch.optim.SGD(fitted.parameters(), 0.1)
    fitted(x).square().sum().backward()
    optimizer.step()
    assert sparsity_of(fitted) == before


def test_what_is_left_is_the_least_squares_fit():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 10), nn.Linear(10, 6))
    x = torch.randn(200, 12) @ torch.randn(12, 12)
    dense = copy.deepcopy(net)
    prune(net, 0.5, calibration=[x[:120], x[120:]], progress=False)
    with torch.no_grad():
        seen, meant = net[0](x).double().numpy(), dense[0](x).double().numpy()
    before = dense[1].weight.detach().double().numpy()
    hold = np.sqrt(RIDGE * np.square(seen).mean() * len(x)) * np.eye(10)
    for row, fitted in enumerate(net[1].weight.detach().numpy()):
        at = np.flatnonzero(fitted)
        squares = np.vstack([seen, hold])[:, at]
        wanted = np.concatenate([meant @ before[row], hold @ before[row]])
        np.testing.assert_allclose(fitted[at], np.linalg.lstsq(squares, wanted)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding="same", dilation=2),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=4),
        nn.Linear(7, 5),
    ],
)
def test_a_layer_is_its_weight_times_its_columns(layer):
    x = torch.randn(3, 9, 7) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 9, 7)
    columns = _columns(layer, x)
    y = layer.weight.reshape(len(columns), -1, columns.shape[1]) @ columns
    wanted = layer(x) - (layer.bias if isinstance(layer, nn.Linear) else layer.bias[:, None, None])
    wanted = wanted.reshape(-1, 5).mT if isinstance(layer, nn.Linear) else wanted.movedim(1, 0).flatten(1)
    torch.testing.assert_close(y.flatten(0, 1), wanted, rtol=1e-4, atol=1e-5)


def test_a_trained_net_keeps_its_accuracy():
    """Digits, 85 % zeros, no training after pruning."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        rows = torch.randint(1200, (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()

    def accuracy(module: nn.Module) -> float:
        with torch.no_grad():
            return float((module(x[1200:]).argmax(1) == y[1200:]).double().mean())

    by_magnitude = prune(copy.deepcopy(net), 0.85)
    fitted = prune(copy.deepcopy(net), 0.85, calibration=[x[:1200]], progress=False)
    assert accuracy(fitted) > accuracy(by_magnitude) + 0.1
    assert accuracy(fitted) > accuracy(net) - 0.1


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.lstm = nn.Linear(4, 4), nn.Linear(4, 4), nn.LSTM(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.used(x + y)  # type: ignore[no-any-return]


def test_errors_leave_the_module_as_it_was():
    net = TwoInputs()
    before = copy.deepcopy(net.state_dict())
    pair = (torch.randn(9, 4), torch.randn(9, 4))
    for layers, batches, message in (
        (None, [pair], "'lstm.weight_ih_l0' cannot be pruned by calibration, which is for linear and conv2d"),
        (["used", "unused"], [pair], "do not reach layer 'unused': leave it out"),
        (["used"], [], "calibration has no batch"),
        (["used"], [{"x": pair[0], "y": pair[1]}], "found str in one"),
    ):
        with pytest.raises(ValueError, match=message):
            prune(net, 0.5, layers=layers, calibration=batches, progress=False)
        assert before.keys() == net.state_dict().keys()
        assert all(torch.equal(before[name], x) for name, x in net.state_dict().items())
    with pytest.raises(ValueError, match="goes layer by layer"):
        prune(net, 0.5, "global", calibration=[pair])
    cluster(net, k=3, layers=["used"], progress=False)
    with pytest.raises(ValueError, match="'used' has another parametrization: prune with calibration first"):
        prune(net, 0.5, layers=["used"], calibration=[pair])
