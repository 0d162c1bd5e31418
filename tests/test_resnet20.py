"""A trained ResNet-20 on real images: batch norm folds away and the logits stay."""

from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import converters
import pyruntime
from bench.nets import ResNetCifar
from converters.compress import quantize

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


@pytest.mark.slow
def test_resnet20_accuracy_in_integers(data_dir: Path, tmp_path: Path) -> None:
    """Of the same 2,000 images, by the converted files: int8 within half a point of fp32; 4-bit weights
    within 1.5 after two epochs of distillation on the calibration images. -s shows the figures."""
    folder = data_dir / "cifar10"
    module = ResNetCifar().eval()
    module.load_state_dict(load_file(folder / "resnet20_cifar10.safetensors"), strict=False)

    def load(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        arrays = np.load(folder / name)
        rgb, labels = (next(arrays[key] for key in arrays if arrays[key].ndim == n) for n in (4, 1))
        x = ((rgb.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(labels.astype(np.int64))

    images, labels = load("cifar10_test_jpegq75_2000.npz")
    train, _ = load("cifar10_train_lossless_2000.npz")

    def accuracy(name: str, net: nn.Module) -> float:
        path = tmp_path / f"{name}.pyrt"
        converters.convert(net, images[:4], path, progress=False)
        model = pyruntime.load(path)
        right = sum(
            int((model.infer(x.numpy()).argmax(1) == y.numpy()).sum())
            for x, y in zip(images.split(250), labels.split(250), strict=True)
        )
        print(f"{name}: {100 * right / len(labels):.2f} %, {path.stat().st_size} bytes")
        return 100 * right / len(labels)

    exact = accuracy("fp32", module)
    calibration = list(train[:512].split(128))
    assert accuracy("int8", quantize(module, calibration, progress=False)) >= exact - 0.5

    narrow = quantize(module, calibration, weight_bits=4, progress=False).train()
    optimizer = torch.optim.Adam(narrow.parameters(), 3e-4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        wanted = torch.cat([module(x) for x in train.split(250)])
    for _ in range(2):
        for picked in torch.randperm(len(train), generator=generator).split(50):
            loss = nn.functional.mse_loss(narrow(train[picked]), wanted[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert accuracy("int4", narrow.eval()) >= exact - 1.5
