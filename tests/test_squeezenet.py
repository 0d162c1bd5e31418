"""Song Han's published Deep Compression SqueezeNet: already pruned and clustered, converted as it is."""

from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from safetensors.torch import load_file

import converters
import pyruntime
from bench.nets import SqueezeNetV1_0
from converters.report import Report

AUTHORS_BYTES = 675_763
MEAN_BGR = (104, 117, 123)


@pytest.fixture(scope="module")
def net(data_dir: Path) -> SqueezeNetV1_0:
    tensors = load_file(data_dir / "squeezenet" / "squeezenet_v1.0_deepcompression.safetensors")
    module = SqueezeNetV1_0().eval()
    state = {name.replace("/", "."): t for name, t in tensors.items() if name.endswith((".weight", ".bias"))}
    module.load_state_dict(state)
    return module


@pytest.fixture(scope="module")
def converted(net: SqueezeNetV1_0, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    path = tmp_path_factory.mktemp("squeezenet") / "squeezenet.pyrt"
    return converters.convert(net, torch.zeros(1, 3, 227, 227), path, prefer="size", progress=False), path


def test_no_larger_than_the_authors_file(converted: tuple[Report, Path]) -> None:
    report, path = converted
    print(report)
    assert path.stat().st_size == report.file_bytes <= AUTHORS_BYTES
    assert report.warnings == []


def test_weights_are_exact(net: SqueezeNetV1_0, converted: tuple[Report, Path]) -> None:
    file = pyrt_reader.read(converted[1])
    for name, parameter in net.named_parameters():
        expected = parameter.detach().numpy().reshape(len(parameter), -1)
        np.testing.assert_array_equal(file.tensor(name), expected, err_msg=name)


def test_outputs_match_the_given_logits(data_dir: Path, converted: tuple[Report, Path]) -> None:
    """Of all 100 photographs in pyruntime, and of two in the plain reader."""
    images = np.load(data_dir / "imagenet_samples" / "imagenet_trainlike_100_227.npz")["x"]
    bgr = images[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, np.float32)
    x = np.ascontiguousarray(bgr.transpose(0, 3, 1, 2))
    logits = np.load(data_dir / "squeezenet" / "fp32_logits_dev100.npz")["logits"]
    tolerance = 1e-4 * float(np.abs(logits).max())
    with pyruntime.load(converted[1]) as model:
        outputs = np.concatenate([model.infer(x[i : i + 10]) for i in range(0, len(x), 10)])
    print(f"max abs difference of logits {np.abs(outputs - logits).max():.1e}")
    np.testing.assert_allclose(outputs, logits, rtol=1e-4, atol=tolerance)
    np.testing.assert_array_equal(outputs.argmax(1), logits.argmax(1))
    (plain,) = pyrt_reader.run(pyrt_reader.read(converted[1]), x[:2]).values()
    np.testing.assert_allclose(plain, logits[:2], rtol=1e-4, atol=tolerance)
