"""What 64-bit ARM boards run, cross-built and under QEMU: kernels against their oracle, whole models."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, build_for_arm
from test_golden import GOLDEN, MAKE
from test_kernels import CANNOT_RUN, kernels

import pyruntime

pytestmark = pytest.mark.emulated

SYSROOT = Path("/usr/aarch64-linux-gnu")
ARM_ISAS = sorted({name.rpartition("__")[2] for name in kernels() if "__avx" not in name})


def emulate(program: Path, *arguments: str | Path, isa: str = "") -> subprocess.CompletedProcess[str]:
    command = ["qemu-aarch64", "-L", SYSROOT, "-E", f"PYRUNTIME_ISA={isa}", program, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)


@pytest.fixture(scope="module")
def arm_build() -> Path:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user)")
    return build_for_arm()


@pytest.fixture(scope="module")
def kernel_test(arm_build: Path) -> Path:
    return arm_build / "kernel_test"


@pytest.fixture(scope="module")
def built(kernel_test: Path) -> list[str]:
    return emulate(kernel_test, "--list").stdout.split()


def test_the_reference_is_built(built: list[str]) -> None:
    assert {name for name in kernels() if name.endswith("__ref")} <= set(built)


@pytest.mark.parametrize("name", kernels())
def test_kernel(name: str, kernel_test: Path, built: list[str]) -> None:
    if name not in built:
        pytest.skip("of another architecture")
    done = emulate(kernel_test, name)
    if done.returncode == CANNOT_RUN:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.fixture(scope="module")
def run_c(arm_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/run.c, built as docs/guides/boards.md says."""
    program = tmp_path_factory.mktemp("run") / "run"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT / 'csrc'}"]
    libraries = [arm_build / "libpyruntime.a", "-lstdc++", "-lm", "-pthread"]
    command = ["aarch64-linux-gnu-gcc", *flags, ROOT / "examples" / "run.c", *libraries, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("isa", ARM_ISAS)
@pytest.mark.parametrize("name", MAKE["GOLDEN"])
def test_golden_file(name: str, isa: str, run_c: Path, tmp_path: Path) -> None:
    """Whole models; those of integers and of bits give the same bytes on all processors."""
    path, expected = GOLDEN / f"{name}.pyrt", np.load(GOLDEN / f"{name}.npz")
    with pyruntime.load(path) as model:
        (x,) = (expected[f"in.{value.name}"] for value in model.inputs)
        outputs = model.infer({model.inputs[0].name: x})
    x.tofile(tmp_path / "x")
    done = emulate(run_c, path, tmp_path / "x", tmp_path / "y", *map(str, x.shape), isa=isa)
    assert done.returncode == 0, done.stdout
    y = np.fromfile(tmp_path / "y", np.float32)
    here = np.concatenate([np.ravel(output) for output in outputs.values()])
    if name in ("integers", "bits"):
        np.testing.assert_array_equal(y, here)
    else:
        np.testing.assert_allclose(y, here, rtol=2e-5, atol=4e-6)
