"""The inner loops of the SIMD kernels keep their sums in registers, not on the stack."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import build_for_arm
from disassembly import ARM, X86, Function, Machine, disassemble, reached
from test_kernels import kernels

# Families whose time goes into one loop of multiply-adds, or, where codewords become weights, of transposes.
PRODUCTS = (
    r"(gemm(_codewords)?_f32|gemm_f(32|16)_few|gemm_q[84]_few|gemm_(bin|tern)ary_few|b?csr_f32(_few|_dot)?|csr_(lines|deltas)_f32"
    r"|pairs_f32_few|codeword_dot_f32|expand_codewords_f32|norm_f32|lstm_f32|gru_f32"
    r"|qgemm_u8(s4)?(_few)?|qcsr_dot_u8|qdepthwise_u8|bgemm)_[0-9x]+__(avx|neon)\w*"
)


@pytest.fixture(scope="module")
def functions(cpp_build: Path) -> dict[str, Function]:
    return tools(X86, cpp_build)


@pytest.fixture(scope="module")
def arm_functions() -> dict[str, Function]:
    return tools(ARM, build_for_arm())


def tools(machine: Machine, build: Path) -> dict[str, Function]:
    if shutil.which(machine.objdump) is None:
        pytest.skip(f"no {machine.objdump} (Debian: {machine.package})")
    return disassemble(machine, build / "libpyruntime.so")


def products(arm: bool) -> list[str]:
    return [name for name in kernels() if re.fullmatch(PRODUCTS, name) and ("__neon" in name) == arm]


@pytest.mark.emulated
@pytest.mark.parametrize("kernel", products(arm=True))
def test_no_vector_spills_on_arm(kernel: str, arm_functions: dict[str, Function]) -> None:
    assert_no_spills(kernel, arm_functions)


@pytest.mark.parametrize("kernel", products(arm=False))
def test_no_vector_spills(kernel: str, functions: dict[str, Function]) -> None:
    assert_no_spills(kernel, functions)


def assert_no_spills(kernel: str, functions: dict[str, Function]) -> None:
    names = reached(kernel, functions)
    if not names:
        pytest.skip("of another architecture")
    loops = 0
    for name in sorted(names):
        function = functions[name]
        for loop in function.inner_loops():
            if any(re.match(function.machine.work, text) for text in loop):
                loops += 1
                assert not function.spills(loop), f"{name}:\n" + "\n".join(loop)
    assert loops, "no such loop found"
