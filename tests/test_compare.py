"""bench/compare.py runs, checks its engines against each other, and compares with an earlier result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

for module in ("onnx", "onnxruntime", "matplotlib", "llvmlite"):
    pytest.importorskip(module)

ROOT = Path(__file__).resolve().parent.parent


def compare(*arguments: object) -> str:
    command = [sys.executable, ROOT / "bench" / "compare.py", "--threads", 1, "--seconds", 0.1, *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return done.stdout


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
    command = [sys.executable, ROOT / "bench" / "choice.py", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (row,) = json.loads(file.read_text())
    assert all(layer["name"] in text for layer in row["layers"])
    assert any("CSR breaks even at" in layer["why"] for layer in row["layers"])
    assert row["bytes"]["auto"] < row["bytes"]["dense"]
    assert [layer["name"] for layer in row["layers"]] == ["conv1", "conv2", "fc1", "fc2"]
    assert all(layer["dense_ms"] > 0 and layer["auto_ms"] > 0 for layer in row["layers"])


def test_sizes_of_a_large_net(tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    arguments = ("--nets", "ResNet20", "--seconds", "0.1", "--json", file)
    command = [sys.executable, ROOT / "bench" / "deep_compression.py", *arguments]
    assert "x best dense" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(file.read_text())["ResNet20"]
    assert result["ratio"] > 15
    # What is over are the pages of code that run, which a process that only imports has not read.
    assert result["peak_memory"] < result["contract"] + 5 * 2**18
    assert set(result["ms"]) == {"torch", "onnxruntime", "pyruntime"}
