"""The inner loops of the SIMD kernels keep their sums in registers, not on the stack."""

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import build_for_arm
from test_kernels import kernels

# Families whose time goes into one loop of multiply-adds, or, where codewords become weights, of transposes.
PRODUCTS = (
    r"(gemm_f32|gemm_f(32|16)_few|gemm_q[84]_few|gemm_(bin|tern)ary_few|b?csr_f32(_few|_dot)?"
    r"|pairs_f32_few|codeword_dot_f32|expand_codewords_f32|norm_f32|lstm_f32|gru_f32"
    r"|qgemm_u8(s4)?(_few)?|qdepthwise_u8|bgemm)_[0-9x]+__(avx|neon)\w*"
)


@dataclass(frozen=True)
class Machine:
    """How objdump prints what the test looks for."""

    objdump: str
    package: str
    work: str  # what the loops that matter do
    vector: str  # a vector register
    jump: str  # to group 1, maybe
    call: str  # to group 1
    leaves: str  # straight-line code
    sets_frame: str  # the frame pointer holds the stack's address
    frame: str
    stack: str


X86 = Machine(
    objdump="objdump",
    package="binutils",
    work=r"(vfn?m(add|sub)\d+ps|vpmaddwd|vpaddb|vunpcklp[sd]|vpermps)\b|(\{vex\} )?vpdpbusd\b",
    vector=r"%[xyz]mm\d+",
    jump=r"j\w+\s+([0-9a-f]+) <",
    call=r"\b(?:call|jmp)\s+[0-9a-f]+ <([^+>]+)>",
    leaves=r"j|call|ret",
    sets_frame=r"mov\s+%rsp,%rbp",
    frame=r"\(%rbp",
    stack=r"\(%rsp",
)
ARM = Machine(
    objdump="aarch64-linux-gnu-objdump",
    package="binutils-aarch64-linux-gnu",
    work=r"(fmla|trn1|smlal2?|sdot|usdot|uadalp)\s+v",
    vector=r"\b[vqd]\d+",
    jump=r"(?:b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, #\w+,)\s*([0-9a-f]+) <",
    call=r"\bbl?\s+[0-9a-f]+ <([^+>]+)>",
    leaves=r"b\b|b\.|bl|br|ret|cbn?z|tbn?z",
    sets_frame=r"mov\s+x29, sp",
    frame=r"\[x29",
    stack=r"\[sp",
)


@dataclass
class Function:
    """Instructions by address, in order, as objdump prints them without the address."""

    machine: Machine
    code: dict[int, str] = field(default_factory=dict)

    def callees(self) -> set[str]:
        return set(re.findall(self.machine.call, "\n".join(self.code.values())))

    def inner_loops(self) -> list[list[str]]:
        """Straight-line code that ends with a jump to its start."""
        loops = []
        for at, text in self.code.items():
            jump = re.match(self.machine.jump, text)
            if not jump or int(jump[1], 16) not in self.code:
                continue
            body = [code for address, code in self.code.items() if int(jump[1], 16) <= address < at]
            if body and not any(re.match(self.machine.leaves, code) for code in body):
                loops.append([*body, text])
        return loops

    def spills(self, loop: list[str]) -> list[str]:
        """Instructions that move a vector from or to the stack."""
        framed = any(re.match(self.machine.sets_frame, text) for text in self.code.values())
        stack = f"{self.machine.stack}|{self.machine.frame}" if framed else self.machine.stack
        return [text for text in loop if re.search(self.machine.vector, text) and re.search(stack, text)]


def disassemble(machine: Machine, library: Path) -> dict[str, Function]:
    if shutil.which(machine.objdump) is None:
        pytest.skip(f"no {machine.objdump} (Debian: {machine.package})")
    command = [machine.objdump, "-d", "--no-show-raw-insn", library]
    functions: dict[str, Function] = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = functions.setdefault(start[1], Function(machine))
        elif code := re.match(r"\s+([0-9a-f]+):\t(.*)", line):
            function.code[int(code[1], 16)] = code[2]
    return functions


@pytest.fixture(scope="module")
def functions(cpp_build: Path) -> dict[str, Function]:
    return disassemble(X86, cpp_build / "libpyruntime.so")


@pytest.fixture(scope="module")
def arm_functions() -> dict[str, Function]:
    return disassemble(ARM, build_for_arm() / "libpyruntime.so")


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
        function = functions[name]
        for loop in function.inner_loops():
            if any(re.match(function.machine.work, text) for text in loop):
                loops += 1
                assert not function.spills(loop), f"{name}:\n" + "\n".join(loop)
    assert loops, "no such loop found"
