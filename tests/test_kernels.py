"""Every kernel of kernels.def against the oracle of tests/cpp, under ASan and UBSan."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CANNOT_RUN = 77  # exit code of kernel_test for an instruction set that this processor lacks


def kernels() -> list[str]:
    """Names of all rows of kernels.def, those of other architectures too."""
    text = (ROOT / "csrc" / "kernels" / "kernels.def").read_text()
    return re.findall(r"^PYRT_KERNEL\(\w+, (\w+), \w+\)", text, re.MULTILINE)


def run(program: Path, argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, argument], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def kernel_test(cpp_build_sanitized: Path) -> Path:
    return cpp_build_sanitized / "kernel_test"


@pytest.fixture(scope="module")
def built(kernel_test: Path) -> list[str]:
    """The kernels of this build."""
    return run(kernel_test, "--list").stdout.split()


def test_every_built_kernel_is_tested(built: list[str]) -> None:
    assert built
    assert set(built) <= set(kernels())
    assert len(set(kernels())) == len(kernels())


def test_avxvnni_in_the_form_of_avx512(cpp_build_sanitized: Path) -> None:
    done = subprocess.run([cpp_build_sanitized / "avxvnni"], capture_output=True, text=True, timeout=300)
    if done.returncode == CANNOT_RUN:
        pytest.skip(done.stdout.strip() or "of another architecture")
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize("name", kernels())
def test_kernel(name: str, kernel_test: Path, built: list[str]) -> None:
    if name not in built:
        pytest.skip("of another architecture")
    done = run(kernel_test, name)
    if done.returncode == CANNOT_RUN:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-8000:]
