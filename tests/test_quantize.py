"""compress.quantize: where it rounds, which ranges it takes, that it trains, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from safetensors.torch import load_file
from test_integers import cifar
from torch import Tensor, nn
from torch.nn import functional as F

import converters
import pyruntime
from bench.nets import DenseNet121, MobileNetV3Small, ResNetCifar, SqueezeNetV1_1, randomize
from converters import pipeline
from converters.compress import FakeQuantize, RowGrid, quantize, quantize_within
from converters.compress.observers import Histogram


def kinds(module: nn.Module, x: Tensor, path: Path) -> set[str]:
    converters.convert(module, x, path, progress=False)
    return {op.kind for op in pyrt_reader.read(path).ops}


class Block(nn.Module):
    """A bit of everything: shortcut with a layer, concat, table, mean, flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.narrow, self.wide = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 3, padding=1)
        self.side, self.pool = nn.Conv2d(16, 16, 1), nn.MaxPool2d(3, 2, 1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.first(x))
        y = F.relu(self.wide(F.relu(self.narrow(x))) + self.side(x))
        y = torch.cat([self.pool(y), F.relu(self.narrow(self.pool(y)))], 1)
        return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))


@pytest.fixture
def block() -> nn.Module:
    torch.manual_seed(0)
    return Block().eval()


@pytest.fixture
def batches() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(8, 3, 32, 32) for _ in range(4)]


def test_everything_is_integer(block: nn.Module, batches: list[Tensor], tmp_path: Path) -> None:
    integers = quantize(block, batches, progress=False)
    expected = {"quantize", "qconv2d", "qtable", "pool2d", "concat", "qmean", "reshape", "qlinear"}
    assert kinds(integers, batches[0], tmp_path / "net.pyrt") == expected
    assert integers.get_submodule("first.0").bias is not None  # the batch norm's
    assert not any(isinstance(m, nn.BatchNorm2d) for m in integers.modules())
    with pyruntime.load(tmp_path / "net.pyrt") as model, torch.no_grad():
        y, exact = model.infer(batches[0].numpy()), block(batches[0]).numpy()
    assert np.square(y - exact).mean() < 0.05**2 * np.square(exact).mean()


@pytest.mark.parametrize("observer", ["minmax", "percentile", "mse", "entropy"])
def test_observers(observer: str, block: nn.Module, batches: list[Tensor]) -> None:
    with torch.no_grad():
        exact = block(batches[0])
        rounded = quantize(block, batches, observer=observer, progress=False)(batches[0])  # type: ignore[arg-type]
    assert (rounded - exact).square().mean() < 0.1**2 * exact.square().mean()


def test_ranges() -> None:
    histogram = Histogram()
    torch.manual_seed(0)
    x = torch.randn(100_000)
    x[0] = 100.0
    histogram.see_extremes(x)
    histogram.see_counts(x)
    assert histogram.range("minmax") == (float(x.min()), 100.0)
    assert histogram.range("percentile")[1] < 5
    assert histogram.range("percentile")[1] < histogram.range("mse")[1] <= 100
    assert histogram.range("entropy")[1] < 100
    assert Histogram().range("mse") == (0.0, 1.0)


def test_grid_of_rows() -> None:
    torch.manual_seed(0)
    w = torch.randn(5, 40) * torch.tensor([1, 10, 1e-9, 0, 3.0])[:, None]
    for bits, most in ((8, 127), (7, 64), (4, 7), (2, 1)):
        grid = RowGrid(w, bits).eval()
        steps = grid(w) / grid.scale[:, None]
        assert steps.abs().max() <= most + 1e-3
        assert (steps - steps.round()).abs().max() < 1e-3
        assert grid.scale.min() >= grid.scale.max() * 2.0**-14  # rows of nothing


def test_bias_correction(batches: list[Tensor]) -> None:
    """Means stay where they are, though four bits round coarsely."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3, groups=2)).eval()
    errors = []
    for correct in (False, True):
        rounded = quantize(module, batches, weight_bits=4, bias_correction=correct, progress=False)
        with torch.no_grad():
            drift = torch.cat([rounded(b) - module(b) for b in batches]).mean((0, 2, 3))
        errors.append(float(drift.square().mean().sqrt()))
    assert errors[1] < 0.5 * errors[0]


def test_layers_in_float(block: nn.Module, batches: list[Tensor], tmp_path: Path) -> None:
    integers = quantize(block, batches, skip=["wide", "fc"], progress=False)
    assert {"conv2d", "dequantize", "linear"} <= kinds(integers, batches[0], tmp_path / "net.pyrt")


def test_bits_by_layer(block: nn.Module, batches: list[Tensor], tmp_path: Path) -> None:
    integers = quantize(block, batches, weight_bits={"wide": 4, "fc": 8}, progress=False)
    converters.convert(integers, batches[0], tmp_path / "net.pyrt", progress=False)
    file = pyrt_reader.read(tmp_path / "net.pyrt")
    assert np.abs(file.tensor("wide.weight")).max() <= 7
    assert np.abs(file.tensor("fc.weight")).max() > 64
    assert np.abs(file.tensor("side.weight")).max() <= 64


def test_saved_and_loaded(block: nn.Module, batches: list[Tensor]) -> None:
    first = quantize(block, batches, progress=False)
    second = quantize(Block().eval(), batches[:1], progress=False)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(second(batches[0]), first(batches[0]))
    assert "scale=" in repr(next(m for m in first.modules() if isinstance(m, FakeQuantize)))


def test_training(block: nn.Module, batches: list[Tensor], tmp_path: Path) -> None:
    """Gradients reach all weights; what was trained converts."""
    integers = quantize(block, batches, weight_bits=2, progress=False).train()
    with torch.no_grad():
        targets = [block(b) for b in batches]
    optimizer = torch.optim.Adam(integers.parameters(), 1e-4)
    losses = []
    for _ in range(12):
        loss = sum(F.mse_loss(integers(b), t) for b, t in zip(batches, targets, strict=True))
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in integers.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    converters.convert(integers, batches[0], tmp_path / "net.pyrt", progress=False)


@pytest.mark.parametrize(
    "make",
    [MobileNetV3Small, SqueezeNetV1_1, pytest.param(DenseNet121, marks=pytest.mark.slow)],
    ids=lambda make: make.__name__,
)
def test_real_architectures(make: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 96, 96)
    module = randomize(make(), x).eval()
    integers = quantize(module, [x], progress=False)
    found = kinds(integers, x, tmp_path / "net.pyrt")
    assert "qconv2d" in found and "conv2d" not in found
    with pyruntime.load(tmp_path / "net.pyrt") as model, torch.no_grad():
        y, fake = torch.from_numpy(model.infer(x.numpy())), integers(x)
        shaken = [integers(x * (1 + 1e-6 * torch.randn_like(x))) for _ in range(4)]
    # A deep net of random weights amplifies roundings: torch's own answer moves by as much as ours is off.
    moved = max(float((other - fake).norm() / fake.norm()) for other in shaken)
    assert float((y - fake).norm() / fake.norm()) <= max(0.1, min(2 * moved, 0.5))


def test_a_wrong_file_is_refused(
    block: nn.Module, batches: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the output is not a rounding, and the file is gone afterwards."""
    integers = quantize(block, batches, progress=False)
    infer = pyruntime.Model.infer
    monkeypatch.setattr(pyruntime.Model, "infer", lambda self, x: 0.5 * infer(self, x))
    with pytest.raises(converters.ConvertError, match="differs from torch's"):
        converters.convert(integers, batches[0], tmp_path / "net.pyrt", progress=False)
    assert not (tmp_path / "net.pyrt").exists()


def test_without_float_inputs_biases_show_how_far_roundings_move_a_net() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 500)
    before = copy.deepcopy(module.state_dict())
    ids, wanted = torch.arange(4), [torch.ones(500)]

    def run(inputs: list[Tensor]) -> list[Tensor]:
        return [1e5 * (module.bias / before["bias"] - 1).detach() + inputs[0].float().mean() - 0.5]

    (allowed,) = pipeline._integer_tolerances(module, run, [ids], wanted, [0.3])
    assert 0.15 < allowed < 0.3  # of 1e5 * 1e-6, twice
    assert all(torch.equal(before[name], x) for name, x in module.state_dict().items())
    assert pipeline._integer_tolerances(module, run, [ids], wanted, [0.05]) == [pipeline.INTEGER_TOLERANCE]
    (allowed,) = pipeline._integer_tolerances(module, run, [ids.float()], wanted, [0.3])
    assert allowed == pipeline.INTEGER_TOLERANCE


class Two(nn.Module):
    """Two inputs and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(24, 16), nn.Linear(24, 16)

    def forward(self, x: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.other(side)


def test_the_wrong_one_of_two_outputs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, inputs = Two().eval(), {"x": torch.randn(8, 24), "side": torch.randn(8, 24)}
    integers = quantize(module, [tuple(inputs.values())], progress=False)
    infer, wrong = pyruntime.Model.infer, ""

    def spoiled(self: pyruntime.Model, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        nonlocal wrong
        results = infer(self, x)
        assert isinstance(results, dict)
        wrong = list(results)[1]
        return {**results, wrong: np.roll(results[wrong], 1, axis=0)}

    converters.convert(integers, inputs, tmp_path / "right.pyrt", progress=False)
    monkeypatch.setattr(pyruntime.Model, "infer", spoiled)
    with pytest.raises(converters.ConvertError) as refused:
        converters.convert(integers, inputs, tmp_path / "wrong.pyrt", progress=False)
    assert f"output '{wrong}' differs" in str(refused.value)
    assert not (tmp_path / "wrong.pyrt").exists()


def images(net: nn.Module, x: Tensor, labels: np.ndarray) -> float:
    with torch.no_grad():
        return float(np.mean(torch.cat([net(part).argmax(1) for part in x.split(200)]).numpy() == labels))


@pytest.mark.slow
def test_four_bits_after_training(data_dir: Path, tmp_path: Path) -> None:
    """ResNet-20 with 4-bit weights, two epochs towards its own logits on 2,000 images: within 1.5 points."""
    folder = data_dir / "cifar10"
    module = ResNetCifar().eval()
    module.load_state_dict(load_file(folder / "resnet20_cifar10.safetensors"), strict=False)
    train, _ = cifar(folder, "cifar10_train_lossless_2000.npz")
    x, labels = cifar(folder, "cifar10_test_jpegq75_2000.npz")
    integers = quantize(module, train[:512].split(64), weight_bits=4, progress=False)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(integers.parameters(), 3e-4)
    for _ in range(2):
        integers.train()
        for index in torch.randperm(len(train)).split(64):
            batch = train[index].flip(3) if torch.rand(()) < 0.5 else train[index]
            with torch.no_grad():
                target = module(batch)
            loss = F.mse_loss(integers(batch), target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    integers.eval()
    report = converters.convert(integers, x[:2], tmp_path / "net.pyrt", progress=False)
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        y = np.concatenate([model.infer(part.numpy()) for part in x.split(200)])
    exact, rounded = images(module, x, labels), float(np.mean(y.argmax(1) == labels))
    print(f"fp32 {exact:.2%}, 4 bits {rounded:.2%}, {report.file_bytes:,} bytes, {report.ratio:.1f}x smaller")
    assert rounded >= exact - 0.015


def never() -> Iterator[Tensor]:
    yield from ()


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Sequential(nn.ReLU()), {}, "no linear or conv2d layer"),
        (nn.Sequential(nn.Linear(4, 4)), {"weight_bits": 9}, "must be 2 to 8"),
        (nn.Sequential(nn.Linear(4, 4)), {"weight_bits": {"1": 4}}, "'1' is not a layer to quantize"),
        (nn.Sequential(nn.Linear(4, 4)), {"skip": ["fc"]}, "'fc' is not a linear or conv2d layer"),
        (nn.Sequential(nn.Linear(4, 4)), {"skip": ["0"]}, "no linear or conv2d layer"),
        (nn.Sequential(nn.Linear(4, 4)), {"observer": "median"}, "observer must be one of"),
        (nn.Sequential(nn.Linear(4, 4)), {"calibration": never()}, "calibration has no batch"),
        (nn.Sequential(nn.Linear(4, 4)), {"calibration": [{"x": torch.zeros(2, 4)}]}, "found str in one"),
        (nn.Sequential(nn.Linear(4, 4)), {"calibration": [np.zeros((2, 4))]}, "found ndarray in one"),
        (Branches(), {}, "torch.fx cannot trace Branches"),
    ],
)
def test_errors(module: nn.Module, options: dict[str, object], message: str) -> None:
    calibration = options.pop("calibration", [torch.randn(2, 4)])
    with pytest.raises(ValueError, match=message):
        quantize(module, calibration, progress=False, **options)  # type: ignore[arg-type]


def test_quantize_within_keeps_what_costs_most_in_float() -> None:
    module = nn.Sequential(
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 8),
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for layer in module[::2]:
            nn.init.normal_(layer.weight, std=0.2)
        module[4].weight[:, 0] = 60.0  # leaves the other weights of the row hardly a level
        module[2].weight[0], module[2].bias[0] = 0.0, 0.001  # and is multiplied by nearly nothing
    data = [torch.randn(64, 32) for _ in range(3)]
    wanted = [module(x).detach() for x in data]

    def signal_to_noise(found: nn.Module) -> float:
        with torch.no_grad():
            error = sum(float((found(x) - y).square().sum()) for x, y in zip(data, wanted, strict=True))
        power = sum(float(y.square().sum()) for y in wanted)
        return min(90.0, 10 * float(np.log10(power / max(error, 1e-12))))

    mixed = quantize_within(module, data, signal_to_noise, 65.0, bias_correction=False, progress=False)
    assert mixed.kept == ["4"] and next(iter(mixed.noise)) == "4"
    assert mixed.score >= mixed.exact - 65 and mixed.exact == 90
    assert quantize_within(module, data, signal_to_noise, 90.0, progress=False).kept == []
    with pytest.raises(ValueError, match="no layer can be quantized within a drop of 1"):
        quantize_within(module, data, signal_to_noise, 1.0, progress=False)
