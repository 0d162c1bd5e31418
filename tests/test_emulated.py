"""What 64-bit ARM boards run, cross-built and under QEMU, against the oracle of tests/cpp: -m emulated."""

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import build_for_arm
from test_kernels import CANNOT_RUN, kernels

pytestmark = pytest.mark.emulated

SYSROOT = Path("/usr/aarch64-linux-gnu")


def emulate(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["qemu-aarch64", "-L", SYSROOT, program, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)


@pytest.fixture(scope="module")
def kernel_test() -> Path:
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user)")
    return build_for_arm() / "kernel_test"


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
