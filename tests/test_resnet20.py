"""A trained ResNet-20 on real images: batch norm folds away and the logits stay."""

from pathlib import Path

import numpy as np
import pyrt_reader
import torch
from safetensors.torch import load_file

import converters
from bench.nets import ResNetCifar

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_resnet20_logits(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "cifar10"
    module = ResNetCifar().eval()
    missing = module.load_state_dict(
        load_file(folder / "resnet20_cifar10.safetensors"), strict=False
    ).missing_keys
    assert all(key.endswith("num_batches_tracked") for key in missing)
    path = tmp_path / "resnet20.pyrt"
    converters.convert(module, torch.rand(1, 3, 32, 32), path, progress=False)
    file = pyrt_reader.read(path)
    assert {op.kind for op in file.ops} == {"conv2d", "slice", "pad", "reduce", "linear"}

    images = np.load(folder / "cifar10_test_jpegq75_2000.npz")
    rgb = next(images[key] for key in images if images[key].ndim == 4)[:50].astype(np.float32) / 255
    x = ((rgb - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)
    logits = np.load(folder / "resnet20_fp32_logits_test2000.npz")
    (wanted,) = (logits[key][:50] for key in logits if logits[key].shape == (2000, 10))
    np.testing.assert_allclose(pyrt_reader.run(file, x)["output"], wanted, rtol=1e-3, atol=1e-3)
