"""Networks of the literature: one file each, against torch in float64, at several batches and resolutions."""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.export import Dim

import converters
import pyruntime
from bench import nets
from converters.report import Report
from pyruntime import _core
from pyruntime.measure import peak_memory

EPSILON = float(np.finfo(np.float32).eps)
# The second does not pass its messages on to the first.
TORCH_LOGGERS = ("torch", "torch.fx.experimental.symbolic_shapes")


@dataclass(frozen=True)
class Case:
    """A net, the parameters its paper (or torchvision) counts, and the planes it is run on.

    sizes: height x width, the first is the one it is converted with; batch: of the second run; full: the
    resolution of the paper; ref: small enough for the plain C++ kernels.
    """

    make: Callable[[], torch.nn.Module]
    parameters: int
    sizes: tuple[tuple[int, int], ...]
    full: int = 224
    channels: int = 3
    batch: int = 8
    ref: bool = False

    @property
    def name(self) -> str:
        return self.make.__name__


SMALL, MIDDLE = ((64, 64), (96, 80)), ((96, 96), (75, 128))
FAST = [
    Case(nets.LeNet5, 431_080, ((28, 28),), 28, channels=1, ref=True),
    Case(nets.ResNet20, 269_722, ((32, 32), (40, 48)), 32, ref=True),
    Case(nets.ResNet50, 25_557_032, SMALL, batch=2),
    Case(nets.SqueezeNetV1_1, 1_235_496, SMALL),
    Case(nets.MobileNetV2, 3_504_872, SMALL),
    Case(nets.MobileNetV3Small, 2_542_856, SMALL),
    Case(nets.UNet, 17_262_977, ((64, 64), (96, 48)), batch=2),
]
SLOW = [
    Case(nets.MobileNetV1, 4_231_976, SMALL),
    Case(nets.ShuffleNetV2, 2_278_604, SMALL),
    Case(nets.GoogLeNet, 6_624_904, SMALL),
    Case(nets.EfficientNetB0, 5_288_548, SMALL),
    Case(nets.ResNet18, 11_689_512, SMALL),
    Case(nets.LeNet300, 266_610, ((28, 28),), 28, channels=1, ref=True),
    Case(nets.VGG16, 138_357_544, SMALL, batch=2),
    Case(nets.ResNet56, 853_018, ((32, 32), (40, 48)), 32),
    Case(nets.SqueezeNetV1_0, 1_248_424, MIDDLE, 227),
    Case(nets.MobileNetV3Large, 5_483_032, SMALL),
    Case(nets.EfficientNetB3, 12_233_232, SMALL, 300, batch=2),
    Case(nets.InceptionV3, 23_834_568, MIDDLE, 299, batch=2),
    Case(nets.DenseNet121, 7_978_856, SMALL, batch=2),
]
CASES = [*FAST, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]


@dataclass(frozen=True)
class Converted:
    case: Case
    module: torch.nn.Module
    double: torch.nn.Module
    report: Report
    log: list[str]
    path: Path


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converted]:
    """One file, with a dynamic batch, height and width (MNIST nets: batch)."""
    case: Case = request.param
    torch.manual_seed(0)
    height, width = case.sizes[0]
    example = torch.randn(4, case.channels, height, width)
    module = nets.randomize(case.make(), example)
    dynamic = {0: Dim.AUTO} | ({2: Dim.AUTO, 3: Dim.AUTO} if len(case.sizes) > 1 else {})
    path = tmp_path_factory.mktemp("nets") / f"{case.name}.pyrt"
    heard = Listener()
    for name in TORCH_LOGGERS:
        logging.getLogger(name).addHandler(heard)
    try:
        report = converters.convert(module, example[:2], path, dynamic_shapes=(dynamic,), progress=False)
    finally:
        for name in TORCH_LOGGERS:
            logging.getLogger(name).removeHandler(heard)
    yield Converted(case, module, copy.deepcopy(module).double(), report, heard.messages, path)
    path.unlink()


class Listener(logging.Handler):
    """Keeps what torch logs as a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def longest_sum(module: torch.nn.Module) -> int:
    """Terms of the longest dot product of a layer."""
    layers = (m for m in module.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear))
    return max(layer.weight[0].numel() for layer in layers)


def check(net: Converted, model: pyruntime.Model, x: torch.Tensor) -> None:
    """As near to float64 as torch's float32, up to a factor for another order of sums."""
    with torch.no_grad():
        exact = net.double(x.double()).numpy()
        torch_error = np.abs(net.module(x).numpy() - exact).max()
    y: npt.NDArray[np.float32] = model.infer(x.numpy())
    assert y.shape == exact.shape
    assert np.isfinite(exact).all() and exact.std() > 1e-2, "the random weights let the activations die"
    rounding = EPSILON * np.sqrt(longest_sum(net.module)) * np.abs(exact).max()
    assert np.abs(y - exact).max() <= 4 * torch_error + rounding, (model.isa, tuple(x.shape))


def test_parameter_count_is_the_papers(net: Converted) -> None:
    assert sum(p.numel() for p in net.module.parameters()) == net.case.parameters


def test_converts_without_a_warning(net: Converted) -> None:
    assert net.report.warnings == []
    assert net.log == []


def test_equals_torch(net: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    shapes = [(1, *net.case.sizes[0]), (net.case.batch, *net.case.sizes[0]), (1, *net.case.sizes[-1])]
    inputs = [torch.randn(n, net.case.channels, h, w) for n, h, w in shapes]
    for isa in _core.available_isas():
        if isa == "ref" and not net.case.ref:
            continue
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(net.path, threads=2) as model:
            for x in inputs:
                check(net, model, x)


@pytest.mark.slow
def test_equals_torch_at_full_resolution(net: Converted) -> None:
    torch.manual_seed(2)
    size = net.case.full
    with pyruntime.load(net.path) as model:
        check(net, model, torch.randn(1, net.case.channels, size, size))


def check_memory(net: Converted, size: int) -> None:
    """Peak memory is the process, the file, the tables, the arena and the outputs, and nothing else."""
    sizes = {"batch": 1} | ({"height": size, "width": size} if len(net.case.sizes) > 1 else {})
    memory = peak_memory(net.path, **sizes)
    if memory is None:
        pytest.skip("peak memory is read from /proc")
    allowed = max(0.05 * memory.declared.total, 4 << 20)
    assert memory.difference <= allowed, memory


@pytest.mark.parametrize("net", [FAST[1], FAST[-1]], indirect=True, ids=lambda case: case.name)
def test_memory_contract(net: Converted) -> None:
    check_memory(net, net.case.sizes[0][0])


@pytest.mark.slow
def test_memory_contract_at_full_resolution(net: Converted) -> None:
    check_memory(net, net.case.full)
