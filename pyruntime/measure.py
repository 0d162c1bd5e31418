"""What a model costs on this machine: latency, and the memory of a fresh process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyruntime.model import Memory, load


def latency_ms(call: Callable[[], object], seconds: float) -> npt.NDArray[np.float64]:
    """Wall times of `call` in milliseconds, repeated for `seconds` (at least 10 times) after a warm-up."""
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return np.array(times)


@dataclass(frozen=True)
class PeakMemory:
    """Peak resident bytes of fresh processes, next to what the model declares.

    `baseline` only imports pyruntime and makes the inputs, `peak` loads the model and infers as well. The
    contract is peak = baseline + declared.total.
    """

    baseline: int
    peak: int
    declared: Memory

    @property
    def difference(self) -> int:
        """Bytes used above (or, negative, below) the contract."""
        return self.peak - self.baseline - self.declared.total


def peak_memory(path: str | Path, threads: int | None = None, **sizes: int) -> PeakMemory | None:
    """Measures the memory contract with inputs of these symbol sizes. None without /proc (Linux only)."""
    if not Path("/proc/self/status").exists():
        return None
    with load(path, threads) as model:
        shapes = model.input_shapes(**sizes)
        declared = model.memory(**sizes)
    return PeakMemory(_peak_of_child(None, threads, shapes), _peak_of_child(path, threads, shapes), declared)


def _peak_of_child(path: str | Path | None, threads: int | None, shapes: Sequence[Sequence[int]]) -> int:
    task = json.dumps([None if path is None else str(path), threads, shapes])
    child = subprocess.run(
        [sys.executable, "-m", "pyruntime.measure", task], check=True, capture_output=True, text=True
    )
    return int(child.stdout)


def _child(task: str) -> None:
    path, threads, shapes = json.loads(task)
    inputs = [np.full(shape, 0.5, np.float32) for shape in shapes]
    if path is not None:
        with load(path, threads) as model:
            model.infer({info.name: x for info, x in zip(model.inputs, inputs, strict=True)})
    # The high-water mark of this process alone; getrusage's survives exec and would be the parent's.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


if __name__ == "__main__":
    _child(sys.argv[1])
