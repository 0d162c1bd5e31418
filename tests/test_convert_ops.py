"""What convert promises: exact weights, fusions, names, errors that say what to do, the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from op_cases import CASES, Case, Function, SharedWeights, TokensNet, batch_norm, lenet5, resnet
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize, prune
from torch.utils import _pytree as pytree

import converters
import pyruntime
from converters import ConvertError, Report, capture, pipeline
from converters.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


def compare(
    module: nn.Module, inputs: tuple[Tensor, ...], path: Path, tolerance: float = 1e-4
) -> pyrt_reader.File:
    """The file's outputs are those of the module, computed in float64, in the order of torch."""
    file = pyrt_reader.read(path)
    with torch.no_grad():
        wanted = pytree.tree_leaves(
            module.double()(*[x.double() if x.is_floating_point() else x for x in inputs])
        )
    module.float()
    outputs = pyrt_reader.run(file, [x.numpy() for x in inputs], torch.float64)
    assert len(wanted) == len(outputs)
    for y, (name, found) in zip(wanted, outputs.items(), strict=True):
        np.testing.assert_allclose(found, y.numpy(), rtol=tolerance, atol=tolerance / 10, err_msg=name)
    return file


def compress(module: nn.Module) -> nn.Module:
    """80 % zeros and 15 other values in every weight matrix."""
    for m in module.modules():
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            weight = m.weight.data
            step = weight.abs().max() / 7
            weight.copy_((weight / step).round() * step * (torch.rand(weight.shape) < 0.2))
    return module


NETS = [case for case in CASES if case.name.startswith(("net_", "conv", "linear"))]


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.name)
def test_compressed_weights_stay_exact(case: Case, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, inputs = compress(case.factory()).eval(), case.inputs()
    program, _ = capture.export(module, inputs, dynamic_batch=True, dynamic_shapes=None)
    graph = pipeline.lower_fused(capture.functional(program))
    for prefer in ("size", "speed", "auto"):
        path = tmp_path / f"{prefer}.pyrt"
        pipeline.write(graph, path, prefer, progress=False)
        file = compare(module, inputs, path)
        for name, m in module.named_modules():
            if isinstance(m, (nn.Linear, nn.Conv2d)) and m.weight.numel() > 500:
                tensor = file.tensor(f"{name}.weight".lstrip(".").replace("tied", "layer"))
                np.testing.assert_array_equal(tensor, m.weight.detach().numpy().reshape(len(m.weight), -1))


def test_batch_norm_is_folded_into_plain_weights(tmp_path: Path) -> None:
    module = batch_norm(nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())).eval()
    path = tmp_path / "net.pyrt"
    converters.convert(module, torch.randn(2, 3, 8, 8), path, progress=False)
    assert [op.kind for op in pyrt_reader.read(path).ops] == ["conv2d"]


def test_batch_norm_keeps_pruned_weights_pruned(tmp_path: Path) -> None:
    module = batch_norm(nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64))).eval()
    weight = module[0].weight.data
    weight[torch.rand(weight.shape) < 0.9] = 0
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, torch.randn(2, 3, 8, 8), path, prefer="size", progress=False)
    assert report.layers[0].nnz == int(weight.count_nonzero())
    assert [op.kind for op in compare(module, (torch.randn(2, 3, 8, 8),), path).ops] == ["conv2d"]


def test_residual_blocks_are_fused(tmp_path: Path) -> None:
    """Adds and activations end up in the convolutions; the shortcut's stride and padding stay."""
    path = tmp_path / "net.pyrt"
    converters.convert(resnet(option_a=True).eval(), torch.randn(2, 3, 16, 16), path, progress=False)
    kinds = [op.kind for op in pyrt_reader.read(path).ops]
    assert kinds.count("conv2d") == 7
    assert set(kinds) == {"conv2d", "slice", "pad", "adaptive_pool2d", "reshape", "linear"}
    assert kinds.count("reshape") == 1


def test_shared_weights_are_stored_once(tmp_path: Path) -> None:
    module = SharedWeights().eval()
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, torch.randn(3, 12), path, progress=False)
    file = compare(module, (torch.randn(4, 12),), path)
    assert [op.tensors[0] for op in file.ops if op.kind == "linear"] == [0, 0, 0, 0]
    assert sum(layer.shape == (12, 12) for layer in report.layers) == 1


def test_names_and_source_lines(tmp_path: Path) -> None:
    path = tmp_path / "net.pyrt"
    converters.convert(TokensNet().eval(), torch.randn(2, 6, 9, 11), path, progress=False)
    file = pyrt_reader.read(path)
    assert {"conv", "fc", "back", "norm"} <= {op.name for op in file.ops}
    assert all(op.source.startswith("op_cases.py:") for op in file.ops)
    assert [file.values[v].name for v in (*file.inputs, *file.outputs)] == ["x", "output"]
    assert {"conv.weight", "conv.bias", "fc.weight"} <= {t.name for t in file.tensors}


class Mask(nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class Codebook(nn.Module):
    """Indices into trained centroids."""

    def __init__(self, index: Tensor, centroids: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.centroids = nn.Parameter(centroids)

    def forward(self, weight: Tensor) -> Tensor:
        return self.centroids[self.index] + 0 * weight


def test_parametrized_weights_are_evaluated(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10)).eval()
    parametrize.register_parametrization(module[0], "weight", Mask((torch.rand(30, 40) < 0.1).float()))
    parametrize.register_parametrization(
        module[2], "weight", Codebook(torch.randint(8, (10, 30)), torch.randn(8))
    )
    prune.l1_unstructured(module[2], "bias", 5)
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, torch.randn(3, 40), path, prefer="size", progress=False)
    compare(module, (torch.randn(2, 40),), path)
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["0.weight"].encoding.startswith("csr8+f32")
    assert by_name["2.weight"].distinct == 8
    assert by_name["2.weight"].encoding.startswith("dense+codebook")


class Unsupported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up = nn.ConvTranspose3d(2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.up(x[None])[0, ..., :8])
        return torch.fft.fft(F.relu(y)).abs() @ y.transpose(2, 3)


def test_all_unsupported_ops_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConvertError) as error:
        converters.convert(Unsupported(), torch.randn(2, 3, 8, 8), tmp_path / "net.pyrt", progress=False)
    text = str(error.value)
    for part in (
        "up (test_convert_ops.py:",
        "conv_transpose3d",
        "fft",
        "conv1d and conv2d",
    ):
        assert part in text, text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (Function(lambda x: x.float()), torch.tensor([[1, 2]], dtype=torch.int16), "is torch.int16"),
        (nn.BatchNorm2d(3, track_running_stats=False), torch.randn(2, 3, 4, 4), "track_running_stats"),
        (Function(lambda x: x + torch.rand(3)), torch.randn(2, 3), "aten.rand"),
        (Function(lambda x: torch.roll(x, 1, 0)), torch.randn(2, 3), "roll along a dynamic"),
        (Function(lambda x: x.repeat(x.shape[0], 1)), torch.randn(2, 3), "repeating more than one element"),
        (nn.ConvTranspose2d(2, 2, 1, padding=1), torch.randn(2, 2, 5, 5), "larger than its kernel"),
        (nn.GroupNorm(2, 4), torch.randn(2, 4, 2, 2, 2), "volumes"),
        (Function(lambda x: x if x.sum() > 0 else -x), torch.randn(2, 3), "torch.export"),
        (nn.Linear(3, 3).double(), torch.randn(2, 3).double(), "float64"),
        (Function(lambda x: (x[:, :0], x)), torch.randn(2, 3), "empty"),
        (nn.Conv2d(2, 2, 33, padding=16, groups=2), torch.randn(2, 2, 9, 9), "1024 taps"),
        (nn.MaxPool2d(2, return_indices=True), torch.randn(2, 3, 4, 4), "output 'output_1'"),
        (
            nn.Sequential(nn.Embedding(9, 4), Function(lambda x: torch.sign(x.transpose(1, 2)))),
            torch.ones(2, 5, dtype=torch.int64),
            "channels that are compared are .* of an input",
        ),
    ],
)
def test_clear_errors(module: nn.Module, inputs: Tensor, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=message):
        converters.convert(module, inputs, tmp_path / "net.pyrt", progress=False)


def test_dynamic_height_and_width(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stages = [
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Upsample(scale_factor=2),
    ]
    module = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).eval()
    dim = torch.export.Dim
    shapes = ({0: dim.AUTO, 2: dim.AUTO(max=512), 3: dim.AUTO},)
    path = tmp_path / "net.pyrt"
    converters.convert(module, torch.randn(1, 3, 32, 40), path, dynamic_shapes=shapes, progress=False)
    file = pyrt_reader.read(path)
    assert file.symbols == [("batch", 1, 2**31 - 1), ("height", 1, 512), ("width", 1, 2**31 - 1)]
    for shape in [(1, 3, 32, 40), (2, 3, 51, 33), (5, 3, 17, 64)]:
        compare(module, (torch.randn(shape),), path)


def test_fixed_batch(tmp_path: Path) -> None:
    path = tmp_path / "net.pyrt"
    converters.convert(lenet5().eval(), torch.randn(1, 1, 28, 28), path, dynamic_batch=False, progress=False)
    assert pyrt_reader.read(path).values[0].dims == [1, 1, 28, 28]


def test_batch_that_cannot_be_dynamic_is_a_warning(tmp_path: Path) -> None:
    module = Function(lambda x: x.view(3, 4) * 2)
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, torch.randn(3, 4), path, progress=False)
    assert "batch is fixed" in report.warnings[0]
    assert "batch is fixed" in str(report)
    compare(module, (torch.randn(3, 4),), path)


def test_dict_inputs_and_outputs(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, image: Tensor, gain: Tensor) -> dict[str, Tensor]:
            return {"bright": image * gain, "sum": image.sum(1)}

    path = tmp_path / "net.pyrt"
    inputs = {"gain": torch.randn(2, 1), "image": torch.randn(2, 4)}
    converters.convert(Two(), inputs, path, progress=False)
    file = pyrt_reader.read(path)
    assert [file.values[v].name for v in (*file.inputs, *file.outputs)] == ["image", "gain", "bright", "sum"]
    compare(Two(), (inputs["image"], inputs["gain"]), path)


def test_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    module = batch_norm(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout()))
    module[1].eval()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    converters.convert(module, torch.randn(1, 8), tmp_path / "net.pyrt", progress=False)
    assert [m.training for m in module.modules()] == [True, True, False, True]
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())


def test_a_file_that_computes_something_else_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, path = tmp_path / "other.pyrt", tmp_path / "net.pyrt"
    converters.convert(nn.Linear(4, 3), torch.randn(2, 4), other, progress=False)
    load = pyruntime.load
    monkeypatch.setattr(pyruntime, "load", lambda _: load(other))
    with pytest.raises(ConvertError, match="output 'output' differs from"):
        converters.convert(nn.Linear(4, 3), torch.randn(2, 4), path, progress=False)
    assert not path.exists()
    converters.convert(nn.Linear(4, 3), torch.randn(2, 4), path, progress=False, verify=False)
    assert path.exists()


def test_report_and_runtime_name_encodings_alike(tmp_path: Path) -> None:
    """Of every tensor: the report's from the encoder, the runtime's from the bytes of the file."""
    wide = nn.Linear(3000, 64, bias=False)
    skewed = nn.Linear(512, 256)
    with torch.no_grad():
        wide.weight[torch.rand(wide.weight.shape) < 0.999] = 0
        skewed.weight.copy_((torch.randn(256, 512) * 2).round().clamp(-7, 7) / 8 + 1)
    modules = {
        "plain": (nn.Linear(40, 30), (1, 40)),
        "sparse": (wide, (1, 3000)),
        "skewed": (skewed, (1, 512)),
        "shared": (compress(nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))), (1, 300)),
        "conv": (compress(nn.Conv2d(32, 48, 3)), (1, 32, 9, 9)),
        "depthwise": (compress(nn.Conv2d(64, 64, 5, groups=64)), (1, 64, 9, 9)),
    }
    seen = set()
    for prefer in ("size", "speed", "auto"):
        for name, (module, shape) in modules.items():
            path = tmp_path / f"{name}-{prefer}.pyrt"
            report = converters.convert(module, torch.zeros(shape), path, prefer=prefer, progress=False)
            with pyruntime.load(path) as model:
                stored = {tensor["name"]: tensor["encoding"] for tensor in model._core.tensors}
                assert {layer.name: layer.encoding for layer in report.layers} == stored
                weights = [encoding for name, encoding in stored.items() if name.endswith("weight")]
                assert all(encoding in model.summary() for encoding in weights)
            seen |= set(stored.values())
    assert {"dense+f32", "dense+codebook4+huffman", "csr8+codebook4+huffman", "rows+f32"} <= seen
    assert any(encoding.startswith("csr16") for encoding in seen), seen


def test_report(tmp_path: Path) -> None:
    module = compress(nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10)))
    path = tmp_path / "net.pyrt"
    report = converters.convert(module, torch.randn(1, 300), path, prefer="size", progress=False)
    assert isinstance(report, Report)
    assert report.file_bytes == path.stat().st_size
    assert report.parameters == 300 * 200 + 200 + 200 * 10 + 10
    assert report.ratio == 4 * report.parameters / report.file_bytes > 10
    layer = report.layers[0]
    assert (layer.name, layer.shape, layer.distinct) == ("0.weight", (200, 300), 15)
    assert layer.encoding == "csr8+codebook4+huffman"
    for stream in layer.streams[1:]:
        assert stream.coding == "raw" or stream.entropy <= stream.bits < 1.15 * stream.entropy
    again = json.loads(json.dumps(report.to_dict()))
    assert again["layers"][0]["why"] == layer.why
    assert "0.weight" in str(report) and f"{report.file_bytes:,}" in str(report)


def test_command_line_archive(tmp_path: Path) -> None:
    module, x = lenet5().eval(), torch.randn(2, 1, 28, 28)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n", max=64)},))
    torch.export.save(program, tmp_path / "net.pt2")
    line = ["net.pt2", "-o", "net.pyrt", "--prefer", "size"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "converters", *line],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "7.weight" in done.stdout
    assert compare(module, (x[:1],), tmp_path / "net.pyrt").symbols[0][1:] == (1, 64)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_command_line_factory(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, weights, out = lenet5().eval(), str(tmp_path / f"w.{suffix}"), tmp_path / "net.pyrt"
    save_file(module.state_dict(), weights) if suffix == "safetensors" else torch.save(
        module.state_dict(), weights
    )
    line = ["op_cases:lenet5", "--weights", weights, "--input", "1x1x28x28", "-o", str(out)]
    assert main(line) == 0, capsys.readouterr().err
    assert "7.weight" in capsys.readouterr().out
    compare(module, (torch.randn(3, 1, 28, 28),), out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:net", "--input", "1x4"], "cannot import"),
        (["math:pi", "--input", "1x4"], "not a torch.nn.Module"),
        (["math"], "--input"),
        (["math:floor", "--input", "1,4"], "shape like"),
        (["missing.pt2"], "missing.pt2"),
        (["missing.pt2", "--input", "1x4"], "belong to"),
        ([__file__ + ".pt2"], "No such file"),
        (
            ["op_cases:lenet5", "--input", "1x1x28x28", "--weights", "missing.safetensors"],
            "missing.safetensors",
        ),
        (["op_cases:lenet5", "--input", "1x1x28x28", "--weights", __file__], "does not hold the weights"),
        (["op_cases:lenet5", "--input", "1x4"], "torch.export"),
    ],
)
def test_command_line_errors(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "-o", str(tmp_path / "net.pyrt")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_broken_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.pt2").write_bytes(b"PK not a zip")
    assert main([str(tmp_path / "net.pt2"), "-o", str(tmp_path / "net.pyrt")]) == 2
    assert "torch.export archive" in capsys.readouterr().err
