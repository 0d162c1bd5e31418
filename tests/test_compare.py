"""bench/compare.py runs, checks its engines against each other, and compares with an earlier result."""

import json
from pathlib import Path

import pytest
from conftest import run_bench

for module in ("onnx", "onnxruntime", "matplotlib", "llvmlite"):
    pytest.importorskip(module)


def compare(*arguments: object) -> str:
    return run_bench("compare.py", "--threads", 1, "--seconds", 0.1, *arguments)


def test_one_layer(tmp_path: Path) -> None:
    file, plot = tmp_path / "result.json", tmp_path / "plot.png"
    text = compare("--only", "layers", "--filter", "300x784x1", "--json", file, "--plot", plot)
    assert "300x784x1" in text
    result = json.loads(file.read_text())
    (row,) = result["rows"]
    assert row["flops"] == 2 * 300 * 784
    assert set(row["ms"]) == {"torch", "onnxruntime", "pyruntime"}
    assert min(row["ms"].values()) > 0 and row["layer_ms"] > 0
    assert result["peak_gflops"]["1"] > 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_pruned_net_is_smaller(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    compare("--only", "nets", "--filter", "MobileNetV1", "--zeros", 0.9, "--json", file)
    (row,) = json.loads(file.read_text())["rows"]
    assert row["file_bytes"] < 0.6 * 4 * 4_231_976  # parameters, four bytes each


def test_choice_next_to_dense(tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    arguments = ("--nets", "LeNet5", "--zeros", "0.9", "--seconds", "0.1", "--layers", "4", "--json", file)
    text = run_bench("choice.py", *arguments)
    (row,) = json.loads(file.read_text())
    assert all(layer["name"] in text for layer in row["layers"])
    assert any("CSR breaks even at" in layer["why"] for layer in row["layers"])
    assert row["bytes"]["auto"] < row["bytes"]["dense"]
    assert [layer["name"] for layer in row["layers"]] == ["conv1", "conv2", "fc1", "fc2"]
    assert all(layer["dense_ms"] > 0 and layer["auto_ms"] > 0 for layer in row["layers"])


def test_sizes_of_a_large_net(tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    arguments = ("--nets", "ResNet20", "--seconds", "0.1", "--json", file)
    assert "x best dense" in run_bench("deep_compression.py", *arguments)
    result = json.loads(file.read_text())["ResNet20"]
    assert result["ratio"] > 15
    # What is over are the pages of code that run, which a process that only imports has not read.
    assert result["peak_memory"] < result["contract"] + 5 * 2**18
    assert set(result["ms"]) == {"torch", "onnxruntime", "pyruntime"}
