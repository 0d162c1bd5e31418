"""Inner loops of the kernels, as objdump sees them.

python tests/disassembly.py build/aarch64/libpyruntime.so prints, for each NEON kernel, the one with the most
products and sums (`make emulated` builds the library).
"""

import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


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
    work=r"(fmla|trn1|tbl|smlal2?|sadalp|sdot|cnt)\s+v",
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
        lines = list(self.code.values())
        line_at = {address: line for line, address in enumerate(self.code)}
        for end, text in enumerate(lines):
            jump = re.match(self.machine.jump, text)
            if not jump or int(jump[1], 16) not in line_at:
                continue
            body = lines[line_at[int(jump[1], 16)] : end]
            if body and not any(re.match(self.machine.leaves, code) for code in body):
                loops.append([*body, text])
        return loops

    def spills(self, loop: list[str]) -> list[str]:
        """Instructions that move a vector from or to the stack."""
        framed = any(re.match(self.machine.sets_frame, text) for text in self.code.values())
        stack = f"{self.machine.stack}|{self.machine.frame}" if framed else self.machine.stack
        return [text for text in loop if re.search(self.machine.vector, text) and re.search(stack, text)]


def disassemble(machine: Machine, library: Path) -> dict[str, Function]:
    command = [machine.objdump, "-d", "--no-show-raw-insn", library]
    functions: dict[str, Function] = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        if start := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = functions.setdefault(start[1], Function(machine))
        elif code := re.match(r"\s+([0-9a-f]+):\t(.*)", line):
            function.code[int(code[1], 16)] = code[2]
    return functions


def reached(kernel: str, functions: dict[str, Function]) -> set[str]:
    """The kernel and what the compiler did not inline into it, but for the activations: they have more
    constants than AVX2 has registers, and loading those from the stack costs what any load does."""
    names = {name for name in functions if re.search(rf"\d{kernel}E", name)}
    new = names
    while new:
        called = set().union(*(functions[name].callees() for name in new))
        called = {name for name in called if "apply_act" not in name}
        new = called & functions.keys() - names
        names |= new
    return names


PRODUCTS = ("fmla", "fadd\tv", "smull", "smlal", "sdot", "cnt")


def main() -> None:
    functions = disassemble(ARM, Path(sys.argv[1]))
    kernels = sorted(
        m[1] for name in functions if (m := re.fullmatch(r"_ZN4pyrt\d+(\w+__neon\w*?)E\w+", name))
    )
    print(f"{'kernel':32} instructions       products  loads  spills")
    for kernel in kernels:
        loops = [
            (loop, functions[name])
            for name in reached(kernel, functions)
            for loop in functions[name].inner_loops()
        ]
        counted = [
            (sum(text.startswith(PRODUCTS) for text in loop), loop, function) for loop, function in loops
        ]
        count, loop, function = max(counted, key=lambda c: (c[0], -len(c[1])), default=(0, [], None))
        if count and function:
            loads = sum(text.startswith("ld") for text in loop)
            print(f"{kernel:32} {len(loop):12}  {count:13}  {loads:5}  {len(function.spills(loop)):6}")


if __name__ == "__main__":
    main()
