"""bench/sparse.py runs, checks its engines against torch, and finds where pruning starts to pay."""

import json
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_bench

for module in ("onnx", "onnxruntime", "matplotlib", "llvmlite", "numba", "scipy", "threadpoolctl"):
    pytest.importorskip(module)


def sparse(*arguments: object) -> str:
    return run_bench("sparse.py", "--threads", 1, "--seconds", 0.02, *arguments)


def test_sparsities(tmp_path: Path) -> None:
    file, plot = tmp_path / "result.json", tmp_path / "plot.png"
    text = sparse("--filter", "300x784x64", "--zeros", 0, 0.5, 0.95, "--json", file, "--plot", plot)
    assert "break-even" in text
    rows = json.loads(file.read_text())["rows"]
    assert [row["encoding"] for row in rows] == ["dense+f32", "csr8+f32", "csr8+f32"]
    assert rows[2]["nnz"] == pytest.approx(0.05 * 300 * 784, rel=0.01)
    for row in rows:
        assert set(row["dense_ms"]) == {"torch", "onnxruntime", "numpy"}
        assert min(*row["dense_ms"].values(), row["layer_ms"]) > 0
    assert set(rows[1]["sparse_ms"]) >= {"scipy csr", "torch csr", "numba csr"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_encodings(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    sparse("--encodings", "--filter", "300x784x1", "--json", file)
    for row in json.loads(file.read_text())["rows"]:
        sizes = row["weight_bytes"]
        assert sizes["csr+f32"] > sizes["csr+codebook"] > sizes["csr+codebook+huffman"]


def test_break_even() -> None:
    sys.path.insert(0, str(ROOT))
    from bench.sparse import break_even

    rows = [{"zeros": z, "x_dense": x} for z, x in ((0.0, 1.1), (0.5, 0.8), (0.9, 4.0))]
    assert break_even(rows) == pytest.approx(0.5 + 0.4 * 0.25 / (1.25 - 0.25))
    assert break_even([{"zeros": 0.9, "x_dense": 0.5}]) is None
