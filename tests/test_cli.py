"""The command line: `pyruntime inspect | run | bench | verify FILE`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Converted

import pyruntime
from pyruntime.cli import main


def run_json(capsys: pytest.CaptureFixture[str], *argv: object) -> Any:
    assert main([*map(str, argv), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect(mlp: Converted, capsys: pytest.CaptureFixture[str]) -> None:
    described = run_json(capsys, "inspect", mlp.path)
    assert [op["kind"] for op in described["ops"]].count("linear") == 2
    assert described["memory"]["file_bytes"] == mlp.path.stat().st_size
    assert sum(tensor["parameters"] for tensor in described["tensors"]) == 32 * 64 + 64 + 640 + 10
    assert main(["inspect", str(mlp.path)]) == 0
    table = capsys.readouterr().out
    assert "csr8+codebook" in table and "total" in table and "float32 [batch, 32]" in table


def test_run_on_arrays(mlp: Converted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pyruntime.load(mlp.path) as model:
        x_name, y_name = model.inputs[0].name, model.outputs[0].name
        expected = model.infer(mlp.x)
    np.save(tmp_path / "x.npy", mlp.x)
    np.savez(tmp_path / "x.npz", **{x_name: mlp.x})
    for source in ("x.npy", "x.npz"):
        for target in ("y.npy", "y.npz"):
            assert main(["run", str(mlp.path), str(tmp_path / source), "-o", str(tmp_path / target)]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npz")[y_name], expected)
    assert f"{y_name}  float32 [6, 10]" in capsys.readouterr().out
    outputs = run_json(capsys, "run", mlp.path, tmp_path / "x.npy")["outputs"]
    np.testing.assert_allclose(outputs[y_name], expected, rtol=1e-6)


def test_run_on_random_numbers(mlp: Converted, capsys: pytest.CaptureFixture[str]) -> None:
    (output,) = run_json(capsys, "run", mlp.path, "--random", "--dim", "batch=3")["outputs"].values()
    assert np.shape(output) == (3, 10)


def test_bench(mlp: Converted, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "bench", mlp.path, "--seconds", "0.05", "--threads", "1", "--dim", "batch=4")
    latency = result["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    assert result["threads"] == 1 and result["load_ms"] > 0 and result["samples_per_s"] > 0
    assert list(result["input_shapes"].values()) == [[4, 32]]
    memory = result["memory"]
    assert memory["file_bytes"] == mlp.path.stat().st_size
    declared = memory["file_bytes"] + memory["table_bytes"] + memory["arena_bytes"] + memory["output_bytes"]
    assert memory["peak_bytes"] == memory["baseline_bytes"] + declared + memory["difference_bytes"]
    assert abs(memory["difference_bytes"]) < 4 << 20
    assert main(["bench", str(mlp.path), "--seconds", "0.05"]) == 0
    text = capsys.readouterr().out
    assert "p99" in text and "samples/s" in text and "peak memory" in text and "kernel" in text


def test_verify(mlp: Converted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = mlp.path.stat().st_size
    assert run_json(capsys, "verify", mlp.path) == {"file": str(mlp.path), "ok": True, "bytes": size}
    assert main(["verify", str(mlp.path)]) == 0
    assert f"{size:,} bytes" in capsys.readouterr().out

    damaged = bytearray(mlp.path.read_bytes())
    damaged[-20] ^= 1
    bad = tmp_path / "bad.pyrt"
    bad.write_bytes(damaged)
    assert main(["verify", str(bad)]) == 1
    message = capsys.readouterr().err
    assert "stream" in message.lower() and len(message.splitlines()) == 1
    assert main(["verify", str(bad), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "MODEL"], "--random"),
        (["run", "MODEL", "--random", "--dim", "width=3"], "width"),
        (["run", "MODEL", "--random", "-o", "y.txt"], ".npz"),
        (["run", "MODEL", "missing.npy"], "missing.npy"),
        (["inspect", "missing.pyrt"], "missing.pyrt"),
        (["verify", "missing.pyrt"], "missing.pyrt"),
    ],
)
def test_errors_are_one_line(
    mlp: Converted, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(mlp.path) if arg == "MODEL" else arg for arg in argv]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pyruntime: ") and message in error and len(error.splitlines()) == 1


def test_without_rich(
    mlp: Converted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["inspect", str(mlp.path)]) == 1
    assert "pip install 'pyruntime[cli]'" in capsys.readouterr().err
    assert run_json(capsys, "inspect", mlp.path)["ops"]
    assert main(["verify", str(mlp.path)]) == 0


def test_module_entry_point() -> None:
    done = subprocess.run([sys.executable, "-m", "pyruntime", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == pyruntime.__version__
