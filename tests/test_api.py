"""The Python API: what `pyruntime.load` and `Model` promise."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Converted

import converters
import pyruntime
from pyruntime import _core
from pyruntime.measure import peak_memory


class TwoInTwoOut(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b, torch.relu(a)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pair") / "pair.pyrt"
    converters.convert(TwoInTwoOut(), (torch.zeros(2, 4), torch.zeros(2, 4)), path, progress=False)
    return path


def test_matches_torch_at_any_batch(cnn: Converted) -> None:
    with pyruntime.load(cnn.path) as model:
        np.testing.assert_allclose(model.infer(cnn.x), cnn.y, atol=1e-5)
        for batch in (1, 7, 33):
            x = np.random.default_rng(batch).standard_normal((batch, 3, 12, 12), np.float32)
            with torch.no_grad():
                expected = cnn.module(torch.from_numpy(x)).numpy()
            np.testing.assert_allclose(model.infer(x), expected, atol=1e-5)


def test_subnormals_count_as_zero(pair: Path) -> None:
    """In all threads, and for the caller only while the call lasts."""
    tiny = np.full((4096, 4), 1e-39, np.float32)
    for threads in (1, 2):
        with pyruntime.load(pair, threads=threads) as model:
            total, _ = model.infer(dict.fromkeys((x.name for x in model.inputs), tiny)).values()
            assert not total.any()
            assert (tiny + tiny).all()


def test_describes_itself(mlp: Converted) -> None:
    with pyruntime.load(str(mlp.path), threads=1) as model:
        (x,), (y,) = model.inputs, model.outputs
        assert x.dtype == y.dtype == "float32"
        assert isinstance(x.shape[0], str) and x.shape[1] == 32
        assert model.threads == 1
        assert model.isa == (os.environ.get("PYRUNTIME_ISA") or _core.available_isas()[-1])
        assert x.name in repr(model) and model.isa in repr(model)


def test_takes_every_safe_form_of_an_array(mlp: Converted) -> None:
    with pyruntime.load(mlp.path) as model:
        name = model.inputs[0].name
        expected = model.infer(mlp.x)
        np.testing.assert_array_equal(model.infer({name: mlp.x}), expected)
        np.testing.assert_array_equal(model.infer(torch.from_numpy(mlp.x)), expected)
        np.testing.assert_array_equal(model.infer(np.asfortranarray(mlp.x)), expected)
        np.testing.assert_array_equal(model.infer(np.repeat(mlp.x, 2, axis=0)[::2]), expected)
        half = mlp.x.astype(np.float16)
        np.testing.assert_array_equal(model.infer(half), model.infer(half.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.uint8, np.complex64, object])
def test_wrong_dtype(mlp: Converted, dtype: type) -> None:
    with (
        pyruntime.load(mlp.path) as model,
        pytest.raises(pyruntime.Error, match=r"must be float32.*\.astype\(np\.float32\)"),
    ):
        model.infer(mlp.x.astype(dtype))


@pytest.mark.parametrize("shape", [(32,), (6, 31), (6, 32, 1), (0, 32), (2, 0)])
def test_wrong_shape_says_what_was_expected(mlp: Converted, shape: tuple[int, ...]) -> None:
    with pyruntime.load(mlp.path) as model:
        with pytest.raises(pyruntime.Error, match=model.inputs[0].name) as raised:
            model.infer(np.zeros(shape, np.float32))
        assert "32" in str(raised.value)


def test_several_inputs_and_outputs(pair: Path) -> None:
    a, b = np.array([[1, -2, 3, -4]], np.float32), np.ones((1, 4), np.float32)
    with pyruntime.load(pair) as model:
        first, second = (info.name for info in model.inputs)
        result = model.infer({second: b, first: a})
        assert isinstance(result, dict)
        assert list(result) == [info.name for info in model.outputs]
        total, positive = result.values()
        np.testing.assert_array_equal(total, a + b)
        np.testing.assert_array_equal(positive, np.maximum(a, 0))
        with pytest.raises(pyruntime.Error, match=f"2 inputs.*{first}.*{second}"):
            model.infer(a)
        with pytest.raises(pyruntime.Error, match=f"{first}.*{second}.*not.*'c'"):
            model.infer({"c": a})


def test_results_are_the_same_for_any_number_of_threads(cnn: Converted) -> None:
    x = np.random.default_rng(0).standard_normal((9, 3, 12, 12), np.float32)
    results = []
    for threads in (1, 2, 5):
        with pyruntime.load(cnn.path, threads=threads) as model:
            results.append(model.infer(x))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_one_model_serves_many_threads(cnn: Converted) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1 + i % 4, 3, 12, 12), np.float32) for i in range(64)]
    with pyruntime.load(cnn.path, threads=2) as model:
        expected = [model.infer(x) for x in inputs]
        with ThreadPoolExecutor(8) as pool:
            for result, reference in zip(pool.map(model.infer, inputs), expected, strict=True):
                np.testing.assert_array_equal(result, reference)


def test_gil_is_released(tmp_path: Path) -> None:
    """Another thread runs while one is inside of `infer`."""
    module = torch.nn.Linear(1024, 1024)
    converters.convert(module, (torch.zeros(2, 1024),), tmp_path / "big.pyrt", progress=False)
    inside, done, seen = threading.Event(), threading.Event(), 0

    with pyruntime.load(tmp_path / "big.pyrt", threads=1) as model:
        x = np.zeros((2048, 1024), np.float32)

        end = time.monotonic() + 30

        def infer() -> None:
            # No other thread gets the interpreter between these calls, unless `infer` gives it away.
            while not done.is_set() and time.monotonic() < end:
                inside.set()
                model.infer(x)
                inside.clear()

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        thread = threading.Thread(target=infer)
        thread.start()
        try:
            while seen < 3 and time.monotonic() < end:
                seen += inside.is_set()
                time.sleep(0.001)
        finally:
            done.set()
            thread.join()
            sys.setswitchinterval(interval)
    assert seen == 3


def test_output_belongs_to_the_caller(mlp: Converted) -> None:
    with pyruntime.load(mlp.path) as model:
        first = model.infer(mlp.x)
        kept = np.copy(first)
        model.infer(mlp.x + 1)
    np.testing.assert_array_equal(first, kept)


def test_closed_model(mlp: Converted) -> None:
    model = pyruntime.load(mlp.path)
    model.close()
    model.close()
    with pytest.raises(pyruntime.Error, match="closed"):
        model.infer(mlp.x)
    assert repr(model).endswith(" closed>")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.pyrt"):
        pyruntime.load(tmp_path / "missing.pyrt")
    (tmp_path / "text.pyrt").write_text("hello " * 100)
    with pytest.raises(pyruntime.Error, match="magic"):
        pyruntime.load(tmp_path / "text.pyrt")
    (tmp_path / "empty.pyrt").touch()
    with pytest.raises(pyruntime.Error):
        pyruntime.load(tmp_path / "empty.pyrt")
    with pytest.raises((pyruntime.Error, OSError)):
        pyruntime.load(tmp_path)
    assert issubclass(pyruntime.Error, ValueError)


@pytest.mark.parametrize("threads", [0, -1])
def test_bad_thread_counts(mlp: Converted, threads: int) -> None:
    with pytest.raises(pyruntime.Error, match="threads"):
        pyruntime.load(mlp.path, threads=threads)


def test_profile(mlp: Converted) -> None:
    with pyruntime.load(mlp.path) as model:
        profile = model.profile(mlp.x)
    linears = [layer for layer in profile.layers if layer.kind == "linear"]
    assert [layer.flops for layer in linears] == [2 * 64 * 32 * 6, 2 * 10 * 64 * 6]
    assert [layer.shape for layer in linears] == [(6, 64), (6, 10)]
    assert all(layer.ms >= 0 and layer.bytes > 0 and layer.kernel for layer in linears)
    assert profile.ms == pytest.approx(sum(layer.ms for layer in profile.layers))
    assert "+codebook4" in linears[0].encoding
    assert json.loads(json.dumps(profile.to_dict()))["layers"][0]["name"] == profile.layers[0].name
    assert "GFLOP/s" in str(profile) and linears[0].kernel in str(profile)


def test_summary(mlp: Converted) -> None:
    with pyruntime.load(mlp.path) as model:
        lines = model.summary().splitlines()
    parameters = sum(p.numel() for p in mlp.module.parameters())
    assert lines[-1].split()[:2] == ["total", f"{parameters:,}"]
    assert any("+codebook4" in line for line in lines)


def test_shapes_and_memory(mlp: Converted) -> None:
    with pyruntime.load(mlp.path) as model:
        symbol = model.inputs[0].shape[0]
        assert isinstance(symbol, str)
        assert model.input_shapes(**{symbol: 5}) == [(5, 32)]
        small, large = model.memory(**{symbol: 1}), model.memory(**{symbol: 512})
        assert small.file_bytes == large.file_bytes == mlp.path.stat().st_size
        assert large.arena_bytes > small.arena_bytes > 0
        assert large.total == large.file_bytes + large.table_bytes + large.arena_bytes
        with pytest.raises(pyruntime.Error, match=f"height.*{symbol}"):
            model.input_shapes(height=3)


def test_isa_can_be_forced(mlp: Converted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNTIME_ISA", "ref")
    with pyruntime.load(mlp.path) as model:
        assert model.isa == "ref"
        np.testing.assert_allclose(model.infer(mlp.x), mlp.y, atol=1e-5)
    monkeypatch.setenv("PYRUNTIME_ISA", "sse9")
    with pytest.raises(pyruntime.Error, match=r"PYRUNTIME_ISA=sse9.*have.* ref"):
        pyruntime.load(mlp.path)


def test_import_needs_numpy_only() -> None:
    code = "import sys, pyruntime; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    third_party = {"torch", "scipy", "sklearn", "rich", "tqdm", "safetensors", "numba", "onnxruntime"}
    assert "numpy" in loaded.split()
    assert not third_party & set(loaded.split())


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 100 MB."""
    path = tmp_path_factory.mktemp("large") / "large.pyrt"
    module = torch.nn.Sequential(torch.nn.Linear(5000, 4000), torch.nn.Linear(4000, 1250))
    converters.convert(module, torch.zeros(1, 5000), path, progress=False, verify=False)
    assert path.stat().st_size > 100_000_000
    return path


def test_memory_contract(large: Path) -> None:
    """A fresh process takes its baseline, the file, the declared arena and the outputs."""
    for batch in (1, 300):
        memory = peak_memory(large, threads=2, batch=batch)
        if memory is None:
            pytest.skip("peak memory is read from /proc")
        assert memory.declared.file_bytes == large.stat().st_size
        assert abs(memory.difference) < 4_000_000


def test_integer_inputs(tmp_path: Path) -> None:
    """int64, int32 and lesser integers of any batch and length; what a table does not have is refused."""
    net = torch.nn.Embedding(50, 8)
    converters.convert(net, torch.zeros(1, 4, dtype=torch.int64), tmp_path / "table.pyrt", progress=False)
    with pyruntime.load(tmp_path / "table.pyrt") as model:
        assert model.inputs[0].dtype == "int64" and model.inputs[0].shape == ("batch", "length")
        for dtype in (np.int64, np.int32, np.uint8):
            for shape in ((1, 1), (3, 17), (2, 40)):
                ids = np.random.default_rng(0).integers(0, 50, shape).astype(dtype)
                wanted = net(torch.from_numpy(ids).long()).detach().numpy()
                assert np.array_equal(model.infer(ids), wanted)
        for ids, rule in (
            (np.array([[50]]), "looks up row 50 of a table of 50"),
            (np.array([[-1]]), "looks up row -1"),
            (np.array([[2**40]]), "is too large"),
            (np.zeros((1, 1), np.float32), "must be int64, not float32"),
        ):
            with pytest.raises(pyruntime.Error, match=rule):
                model.infer(ids)
        assert np.array_equal(model.infer(np.array([[3]])), net(torch.tensor([[3]])).detach().numpy())
