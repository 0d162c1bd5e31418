"""The inner loops of the SIMD kernels keep their sums in registers, not on the stack."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_kernels import kernels

# Families whose time goes into one loop of multiply-adds, or, where codewords become weights, of transposes.
PRODUCTS = (
    r"(gemm_f32|gemm_f(32|16)_few|gemm_q[84]_few|gemm_(bin|tern)ary_few|b?csr_f32(_few|_dot)?"
    r"|pairs_f32_few|codeword_dot_f32|expand_codewords_f32|norm_f32|lstm_f32|gru_f32"
    r"|qgemm_u8(s4)?(_few)?|qdepthwise_u8|bgemm)_[0-9x]+__avx\w+"
)
WORK = re.compile(r"(vfn?m(add|sub)\d+ps|vpmaddwd|vpaddb|vunpcklp[sd]|vpermps)\b|(\{vex\} )?vpdpbusd\b")
VECTOR = re.compile(r"%[xyz]mm\d+")


@dataclass
class Function:
    """Instructions by address, in order, as objdump prints them without the address."""

    code: dict[int, str] = field(default_factory=dict)

    def callees(self) -> set[str]:
        targets = re.findall(r"\b(?:call|jmp)\s+[0-9a-f]+ <([^+>]+)>", "\n".join(self.code.values()))
        return set(targets)

    def inner_loops(self) -> list[list[str]]:
        """Straight-line code that ends with a jump to its start."""
        loops = []
        for at, text in self.code.items():
            jump = re.match(r"j\w+\s+([0-9a-f]+) <", text)
            if not jump or int(jump[1], 16) not in self.code:
                continue
            body = [code for address, code in self.code.items() if int(jump[1], 16) <= address < at]
            if body and not any(re.match(r"j|call|ret", code) for code in body):
                loops.append([*body, text])
        return loops

    def stack_operand(self) -> re.Pattern[str]:
        """rbp is the stack's only in functions that set it up as the frame pointer."""
        framed = any(re.match(r"mov\s+%rsp,%rbp", text) for text in self.code.values())
        return re.compile(r"\(%r[sb]p" if framed else r"\(%rsp")


def disassemble(library: Path) -> dict[str, Function]:
    command = ["objdump", "-d", "--no-show-raw-insn", library]
    functions: dict[str, Function] = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = functions.setdefault(start[1], Function())
        elif code := re.match(r"\s+([0-9a-f]+):\t(.*)", line):
            function.code[int(code[1], 16)] = code[2]
    return functions


@pytest.fixture(scope="module")
def functions(cpp_build: Path) -> dict[str, Function]:
    if shutil.which("objdump") is None:
        pytest.skip("no objdump (Debian: binutils)")
    return disassemble(cpp_build / "libpyruntime.so")


@pytest.mark.parametrize("kernel", [name for name in kernels() if re.fullmatch(PRODUCTS, name)])
def test_no_vector_spills_in_inner_loops(kernel: str, functions: dict[str, Function]) -> None:
    entry = [name for name in functions if re.search(rf"\d{kernel}E", name)]
    if not entry:
        pytest.skip("of another architecture")
    # The kernel and what the compiler did not inline into it, but for the activations: they have more
    # constants than AVX2 has registers, and loading those from the stack costs what any load does.
    reached, new = set(entry), set(entry)
    while new:
        called = set().union(*(functions[name].callees() for name in new))
        called = {name for name in called if "apply_act" not in name}
        new = called & functions.keys() - reached
        reached |= new
    loops = 0
    for name in sorted(reached):
        stack = functions[name].stack_operand()
        for loop in functions[name].inner_loops():
            if not any(WORK.match(text) for text in loop):
                continue
            loops += 1
            spills = [text for text in loop if VECTOR.search(text) and stack.search(text)]
            assert not spills, f"{name}:\n" + "\n".join(loop)
    assert loops, "no such loop found"
