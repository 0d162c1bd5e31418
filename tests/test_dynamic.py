"""Linear layers that round their tokens as they come: to the bit, and close to torch."""

from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from torch import Tensor, nn

import converters
import pyruntime
from converters.compress import quantize_dynamic
from pyruntime import _core


def feed_forward() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(50, 70), nn.GELU(), nn.Linear(70, 33, bias=False), nn.ReLU(), nn.Linear(33, 16)
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("bits", [8, 7, 4])
@pytest.mark.parametrize("shape", [(1, 50), (5, 50), (3, 40, 50)])
def test_to_the_bit(
    bits: int, shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = quantize_dynamic(feed_forward(), weight_bits=bits)
    x = torch.randn(shape) * torch.logspace(-3, 3, shape[-2])[:, None]
    x[..., 0, :] = 0
    converters.convert(module, x, tmp_path / "net.pyrt", progress=False)
    file = pyrt_reader.read(tmp_path / "net.pyrt")
    assert [op.kind for op in file.ops if op.kind.startswith("q")] == ["qlinear_dynamic"] * 3
    expected = pyrt_reader.run(file, x.numpy())["output"]
    with torch.no_grad():
        fake = module(x).numpy()
    for isa in _core.available_isas():
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(tmp_path / "net.pyrt", threads=2) as model:
            y = model.infer(x.numpy())
        # gelu is float, so its last bits are those of the instruction set.
        for found in (expected, fake):
            assert np.square(y - found).mean() < 0.02**2 * np.square(found).mean()


def test_one_layer_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = quantize_dynamic(nn.Sequential(nn.Linear(50, 70)).eval())
    x = 100 * torch.randn(20, 50)
    converters.convert(module, x, tmp_path / "net.pyrt", progress=False)
    expected = pyrt_reader.run(pyrt_reader.read(tmp_path / "net.pyrt"), x.numpy())["output"]
    for isa in _core.available_isas():
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(tmp_path / "net.pyrt") as model:
            np.testing.assert_array_equal(model.infer(x.numpy()), expected, err_msg=isa)
    with torch.no_grad():
        np.testing.assert_allclose(expected, module(x), rtol=1e-5, atol=1e-3)


def test_batches_do_not_touch_each_other(tmp_path: Path) -> None:
    module = quantize_dynamic(nn.Sequential(nn.Linear(30, 20)).eval())
    x = torch.randn(12, 30).numpy()
    converters.convert(module, torch.from_numpy(x), tmp_path / "net.pyrt", progress=False)
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        alone = np.concatenate([model.infer(row[None]) for row in x])
        np.testing.assert_array_equal(model.infer(x), alone)


def test_training() -> None:
    module = quantize_dynamic(feed_forward(), weight_bits=3).train()
    module(torch.randn(6, 50)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def test_chosen_layers(tmp_path: Path) -> None:
    module = quantize_dynamic(feed_forward(), layers=["2"])
    converters.convert(module, torch.randn(4, 50), tmp_path / "net.pyrt", progress=False)
    kinds = [op.kind for op in pyrt_reader.read(tmp_path / "net.pyrt").ops]
    assert kinds.count("linear") == 2 and kinds.count("qlinear_dynamic") == 1


class Words(nn.Module):
    """A table and a linear layer, which may be tied."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.words, self.between, self.out = nn.Embedding(70, 48), nn.Linear(48, 48), nn.Linear(48, 70)
        if tied:
            self.out.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.out(self.between(self.words(ids)))
        return logits


@pytest.mark.parametrize("tied", [False, True])
def test_tables_take_a_byte_an_entry(tied: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Words(tied).eval()
    exact, ids = module.words.weight.detach().clone(), torch.randint(70, (3, 9))
    quantize_dynamic(module)
    step = exact.abs().amax(1, keepdim=True) / (64 if tied else 127)
    assert ((module.words.weight - exact).abs() <= step).all()
    assert tied == torch.equal(module.words.weight, module.out.weight)
    report = converters.convert(module, ids, tmp_path / "net.pyrt", progress=False)
    tables = [layer for layer in report.layers if "s8" in layer.encoding and layer.parameters == 70 * 48]
    assert len(tables) == (1 if tied else 2)
    assert all(table.file_bytes <= 80 * 48 + 64 for table in tables)
    with pyruntime.load(tmp_path / "net.pyrt") as model:
        np.testing.assert_allclose(model.infer(ids.numpy()), module(ids).detach(), atol=1e-4)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no linear or embedding layer"):
        quantize_dynamic(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ValueError, match="Embedding has no linear layer to quantize"):
        quantize_dynamic(nn.Embedding(5, 4))
    with pytest.raises(ValueError, match="'0' is not a linear or embedding layer; there are: 1"):
        quantize_dynamic(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4)), layers=["0"])
    with pytest.raises(ValueError, match="weight_bits of layer '0' is 9: must be 2 to 8"):
        quantize_dynamic(feed_forward(), weight_bits={"0": 9})
    with pytest.raises(ValueError, match="weight_bits names '7', which is not quantized; there are: 0, "):
        quantize_dynamic(feed_forward(), weight_bits={"7": 4})
    from converters.compress import RoundTokens

    with pytest.raises(converters.ConvertError, match="in front of linear layers"):
        converters.convert(
            nn.Sequential(RoundTokens(), nn.ReLU()), torch.randn(4, 5), tmp_path / "x", progress=False
        )
