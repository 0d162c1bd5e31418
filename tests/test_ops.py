"""Every op, on every instruction set of this machine, against torch in float64."""

import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import op_cases
import pytest
import torch

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


@pytest.mark.parametrize("case", op_cases.CASES, ids=lambda c: c.name)
def test_op_equals_torch(case: op_cases.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module, inputs = case.factory().eval(), case.inputs()
    path = tmp_path / "op.pyrt"
    converters.convert(module, inputs, path, progress=False)
    expected = reference(module, inputs)
    for isa in ISAS:
        monkeypatch.setenv("PYRUNTIME_ISA", isa)
        with pyruntime.load(path, threads=2) as model:
            assert model.isa == isa
            for y, e in zip(infer(model, inputs), expected, strict=True):
                assert y.shape == e.shape
                tolerance = 2e-6 * max(1.0, np.abs(e).max())
                np.testing.assert_allclose(y, e, rtol=2e-5, atol=tolerance, err_msg=isa)
