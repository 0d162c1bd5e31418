"""Every op of op_cases through the interpreter and on every instruction set, against torch in float64."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import op_cases
import pytest
import torch
from test_convert_ops import compare

import converters
import pyruntime
from pyruntime import _core

ISAS = _core.available_isas()


def reference(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[npt.NDArray[np.float64]]:
    """Outputs of the module computed in float64."""
    double = copy.deepcopy(module).double()
    with torch.no_grad():
        y = double(*(x.double() if x.is_floating_point() else x for x in inputs))
    if isinstance(y, dict):
        y = tuple(y.values())
    return [t.numpy() for t in (y if isinstance(y, (tuple, list)) else (y,))]


def infer(model: pyruntime.Model, inputs: tuple[torch.Tensor, ...]) -> list[npt.NDArray[np.float32]]:
    arrays = {spec.name: x.numpy() for spec, x in zip(model.inputs, inputs, strict=True)}
    y = model.infer(arrays)
    return list(y.values()) if isinstance(y, dict) else [y]


@dataclass(frozen=True)
class Op:
    """A case of op_cases and the file made from it."""

    module: torch.nn.Module
    inputs: tuple[torch.Tensor, ...]
    path: Path
    warnings: list[str]


@pytest.fixture(scope="module", params=op_cases.CASES, ids=lambda case: case.name)
def op(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Op:
    torch.manual_seed(0)
    module, inputs = request.param.factory().eval(), request.param.inputs()
    path = tmp_path_factory.mktemp("op") / "op.pyrt"
    report = converters.convert(module, inputs, path, progress=False)
    return Op(module, inputs, path, report.warnings)


def batches(inputs: tuple[torch.Tensor, ...], size: int) -> tuple[torch.Tensor, ...]:
    return tuple(x[:1].repeat(size, *[1] * (x.dim() - 1)) for x in inputs)


def test_interpreter_equals_torch(op: Op) -> None:
    assert op.warnings == []
    for x in (op.inputs, batches(op.inputs, 1), batches(op.inputs, 3)):
        compare(copy.deepcopy(op.module), tuple(t.clone() for t in x), op.path)


def test_op_equals_torch(op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = reference(op.module, op.inputs)
    for isa in ISAS:
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(op.path, threads=2) as model:
            assert model.isa == isa
            for y, e in zip(infer(model, op.inputs), expected, strict=True):
                assert y.shape == e.shape
                tolerance = 2e-6 * max(1.0, np.abs(e).max())
                np.testing.assert_allclose(y, e, rtol=2e-5, atol=tolerance, err_msg=isa)
