"""The golden files decode to their expected weights and outputs, and the writer still writes them."""

import runpy
from pathlib import Path

import numpy as np
import pyrt_reader
import pytest
import torch

import pyruntime
from pyruntime import _core

GOLDEN = Path(__file__).parent / "golden"
MAKE = runpy.run_path(str(GOLDEN / "make.py"))


@pytest.mark.parametrize("name", MAKE["GOLDEN"])
def test_golden_file_decodes(name: str) -> None:
    file = pyrt_reader.read(GOLDEN / f"{name}.pyrt")
    expected = np.load(GOLDEN / f"{name}.npz")
    for tensor in file.tensors:
        np.testing.assert_array_equal(file.tensor(tensor.name), expected[f"w.{tensor.name}"])
    (x,) = (expected[key] for key in expected if key.startswith("in."))
    for key, y in pyrt_reader.run(file, x, torch.float64).items():
        np.testing.assert_allclose(y, expected[f"out.{key}"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("name", MAKE["GOLDEN"])
def test_runtime_gives_the_golden_outputs(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The C++ reader and kernels on files that do not change when the writer does; one thread and several."""
    monkeypatch.setenv("PYRUNTIME_ISA", isa)
    expected = np.load(GOLDEN / f"{name}.npz")
    for threads in (1, 3):
        with pyruntime.load(GOLDEN / f"{name}.pyrt", threads=threads) as model:
            assert model.isa == isa
            (x,) = model.inputs
            outputs = model.infer({x.name: expected[f"in.{x.name}"]})
        assert isinstance(outputs, dict)
        assert {f"out.{key}" for key in outputs} == {key for key in expected if key.startswith("out.")}
        for key, y in outputs.items():
            np.testing.assert_allclose(y, expected[f"out.{key}"], rtol=2e-5, atol=4e-6)


@pytest.mark.parametrize("name", ["linear", "blocks", "conv"])
def test_the_writer_writes_the_golden_file(name: str, tmp_path: Path) -> None:
    """Only those made without torch.export, whose traces may change from release to release."""
    make, _ = MAKE["GOLDEN"][name]
    make(tmp_path / "made.pyrt")
    assert (tmp_path / "made.pyrt").read_bytes() == (GOLDEN / f"{name}.pyrt").read_bytes()
