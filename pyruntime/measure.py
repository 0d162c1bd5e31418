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

    `baseline` only imports pyruntime and makes the inputs, `peak` loads the model and infers as well;
    `outputs` is what it returned. The contract is peak = baseline + declared.total + outputs.
    """

    baseline: int
    peak: int
    declared: Memory
    outputs: int

    @property
    def difference(self) -> int:
        """Bytes used above (or, negative, below) the contract."""
        return self.peak - self.baseline - self.declared.total - self.outputs


def peak_memory(path: str | Path, threads: int | None = None, **sizes: int) -> PeakMemory | None:
    """Measures the memory contract with inputs of these symbol sizes. None without /proc (Linux only)."""
    if not Path("/proc/self/status").exists():
        return None
    with load(path, threads) as model:
        dtypes = [info.dtype for info in model.inputs]
        inputs = list(zip(dtypes, model.input_shapes(**sizes), strict=True))
        declared = model.memory(**sizes)
    baseline, _ = _run_child(None, threads, inputs)
    peak, outputs = _run_child(path, threads, inputs)
    return PeakMemory(baseline, peak, declared, outputs)


def _run_child(
    path: str | Path | None, threads: int | None, inputs: Sequence[tuple[str, Sequence[int]]]
) -> tuple[int, int]:
    """Peak resident bytes of a fresh process, and the bytes of the outputs it was given."""
    task = json.dumps([None if path is None else str(path), threads, inputs])
    child = subprocess.run(
        [sys.executable, "-m", "pyruntime.measure", task], check=True, capture_output=True, text=True
    )
    peak, outputs = map(int, child.stdout.split())
    return peak, outputs


def _child(task: str) -> None:
    path, threads, forms = json.loads(task)
    # An id that every table has.
    inputs = [np.full(shape, 0.5 if dtype == "float32" else 0, dtype) for dtype, shape in forms]
    outputs = 0
    if path is not None:
        with load(path, threads) as model:
            result = model.infer({info.name: x for info, x in zip(model.inputs, inputs, strict=True)})
        outputs = sum(y.nbytes for y in (result.values() if isinstance(result, dict) else [result]))
    # The high-water mark of this process alone; getrusage's survives exec and would be the parent's.
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) * 1024, outputs)


if __name__ == "__main__":
    _child(sys.argv[1])
