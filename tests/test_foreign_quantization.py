"""Models that other tools quantized: torch.ao's eager mode, before and after its convert, and torchao."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization as tq
from torch import Tensor, nn

import converters
import pyruntime

pytestmark = pytest.mark.filterwarnings("ignore")  # all of torch.ao.quantization is deprecated


class Net(nn.Module):
    """Convolutions with batch norm, a depthwise one, a residual and a linear layer, between stubs."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.a, self.norm, self.relu = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        self.b, self.act = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Hardswish()
        self.c, self.plain = nn.Conv2d(16, 8, 3, stride=2), nn.ReLU()
        self.sum = nn.quantized.FloatFunctional()
        self.linear = nn.Linear(8 * 3 * 3, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm(self.a(self.quant(x))))
        y = self.sum.add(y, self.act(self.b(y)))
        y = self.plain(self.c(y))
        result: Tensor = self.dequant(self.linear(y.flatten(1)))
        return result


@pytest.fixture
def x() -> Tensor:
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def layers(path: Path) -> dict[str, str]:
    with pyruntime.load(path) as model:
        text = str(model.summary())
    return {words[0]: words[1] for words in (line.split() for line in text.splitlines()) if len(words) > 1}


def converted(module: nn.Module, x: Tensor, folder: Path) -> np.ndarray:
    converters.convert(module, x, folder / "net.pyrt", progress=False)
    with pyruntime.load(folder / "net.pyrt") as model:
        y: np.ndarray = model.infer(x.numpy())
    return y


def qat(net: Net, x: Tensor) -> nn.Module:
    net.train()
    module = tq.fuse_modules_qat(net, ["a", "norm", "relu"])
    module.qconfig = tq.get_default_qat_qconfig("x86")
    tq.prepare_qat(module, inplace=True)
    module(x)
    result: nn.Module = module.eval()
    return result


def test_qat_as_it_was_trained(net: Net, x: Tensor, tmp_path: Path) -> None:
    module = qat(net, x)
    module.apply(tq.disable_observer)
    y = converted(module, x, tmp_path)
    with torch.no_grad():
        wanted = module(x).numpy()
    step = float(module.linear.activation_post_process.scale)  # type: ignore[union-attr,arg-type]
    assert np.abs(y - wanted).max() <= 1.001 * step
    assert np.mean(y != wanted) < 0.02
    kinds = layers(tmp_path / "net.pyrt")
    assert [kinds[name] for name in "abc"] == ["qconv2d"] * 3
    assert kinds["linear"] == "qlinear"
    assert "dequantize" not in list(kinds)[:-1]  # integers from end to end


def test_qat_that_still_observes(net: Net, x: Tensor, tmp_path: Path) -> None:
    with pytest.raises(converters.ConvertError, match="disable_observer"):
        converted(qat(net, x), x, tmp_path)


def test_eager_static(net: Net, x: Tensor, tmp_path: Path) -> None:
    module = tq.fuse_modules(net.eval(), ["a", "norm", "relu"])
    module.qconfig = tq.get_default_qconfig("x86")
    tq.prepare(module, inplace=True)
    module(x)
    tq.convert(module, inplace=True)
    before = copy.deepcopy(module)
    y = converted(module, x, tmp_path)
    assert type(module.a) is type(before.a)  # what was given is not changed
    with torch.no_grad():
        wanted = module(x).numpy()
    step = float(module.linear.scale)
    # Torch's kernels round their way; a step of an inner layer is less than one of the last.
    assert np.abs(y - wanted).max() <= 2.001 * step
    assert np.mean(np.abs(y - wanted) > 0.5 * step) < 0.1
    kinds = layers(tmp_path / "net.pyrt")
    assert [kinds[name] for name in "abc"] == ["qconv2d"] * 3
    assert kinds["linear"] == "qlinear"


def test_eager_layers_without_a_form_are_named(tmp_path: Path) -> None:
    module = nn.Sequential(nn.quantized.Quantize(0.1, 0, torch.quint8), nn.quantized.ELU(0.1, 0))
    with pytest.raises(converters.ConvertError, match="1: ELU"):
        converted(module, torch.randn(2, 3), tmp_path)


def test_exported_module(x: Tensor, tmp_path: Path) -> None:
    """Which has no eval()."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    y = converted(torch.export.export(net, (x,)).module(), x, tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(y, net(x).numpy(), rtol=1e-5, atol=1e-6)


# The two tests of torchao want it installed by hand (pip install torchao): transformers imports it wherever
# it is, and what it prints then stands between the results of benches and examples.


def test_pt2e(x: Tensor, tmp_path: Path) -> None:
    pt2e = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
    quantizer_module = pytest.importorskip("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10)
    ).eval()
    quantizer = quantizer_module.X86InductorQuantizer()
    quantizer.set_global(quantizer_module.get_default_x86_inductor_quantization_config())
    prepared = pt2e.prepare_pt2e(torch.export.export(net, (x,)).module(), quantizer)
    prepared(x)
    module = pt2e.convert_pt2e(prepared)
    y = converted(module, x, tmp_path)
    with torch.no_grad():
        wanted = module(x).numpy()
    assert np.abs(y - wanted).max() < 0.05 * np.abs(wanted).max()
    assert [kind for kind in layers(tmp_path / "net.pyrt").values() if kind.startswith("q")].count(
        "qconv2d"
    ) == 2


def test_torchao_weights_alone(tmp_path: Path) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    torchao.quantize_(net, torchao.Int8WeightOnlyConfig())
    x = torch.randn(4, 64)
    y = converted(net, x, tmp_path)
    with torch.no_grad():
        wanted = net(x).numpy()
    assert np.abs(y - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert (tmp_path / "net.pyrt").stat().st_size < 64 * 128 + 128 * 10 + 4000  # a byte a weight
