"""`load` and `Model`: a compressed network that is ready to run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pyruntime import _core
from pyruntime.profile import Profile
from pyruntime.table import Table

Array = npt.NDArray[np.float32]
Input = npt.NDArray[np.float32] | npt.NDArray[np.int64] | npt.NDArray[np.int32]
Feed = npt.ArrayLike | Mapping[str, npt.ArrayLike]

_FLOAT32 = np.dtype(np.float32)  # a dtype is compared faster with a dtype than with a type


@dataclass(frozen=True)
class InputInfo:
    """A graph input. A dimension is a size, or the name of a symbol that takes its size at run time."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OutputInfo:
    """A graph output. Its shape follows from the inputs'."""

    name: str
    dtype: str


@dataclass(frozen=True)
class Memory:
    """What a model occupies, in bytes: the mapped file, the tables made at load, the activations."""

    file_bytes: int
    table_bytes: int
    arena_bytes: int

    @property
    def total(self) -> int:
        """The sum of the three, which is all that a model may use."""
        return self.file_bytes + self.table_bytes + self.arena_bytes


def load(path: str | os.PathLike[str], threads: int | None = None) -> "Model":
    """Maps a `.pyrt` file and checks all of it; no weight is copied or expanded.

    `threads` is the number that one inference may use; None takes every cpu this process may run on.
    Raises `FileNotFoundError`, or `pyruntime.Error` naming the section and the rule that a bad file breaks.
    """
    if threads is not None and threads < 1:
        raise _core.Error(f"threads must be at least 1 or None, not {threads}")
    return Model(_core.Model(os.fspath(path), threads or 0))


class LayerOutput(NamedTuple):
    """What an op computed: layer name, kind of op, value."""

    name: str
    kind: str
    value: Array


class Model:
    """An immutable network that any number of threads may call at once.

    Use it as a context manager, or `close` it.
    """

    def __init__(self, core: _core.Model) -> None:
        self._core = core
        self.inputs = tuple(
            InputInfo(info["name"], info["dtype"], tuple(info["shape"])) for info in core.inputs
        )
        self.outputs = tuple(OutputInfo(info["name"], info["dtype"]) for info in core.outputs)

    @property
    def isa(self) -> str:
        """The kernels' instruction set, as `PYRUNTIME_ISA` names it: "ref", "avx2", "neon" and so on."""
        return self._core.isa

    @property
    def threads(self) -> int:
        """Threads that one inference may use."""
        return self._core.threads

    def infer(self, x: Feed) -> Array | dict[str, Array]:
        """Runs the network.

        `x` is one array for a network with one input, or a dict of arrays by input name, in the shape and of
        the dtype that `inputs` declares: float32 (float16 is taken as well), or int64 or int32 (any integers
        and booleans are taken, -2**24 to 2**24). Returns a float32 array, or a dict by name
        when the network has several outputs. Raises `pyruntime.Error` that says what was expected.
        """
        results = self._core.infer(self._arrays(x))
        if len(results) == 1:
            return results[0]
        return {info.name: array for info, array in zip(self.outputs, results, strict=True)}

    def profile(self, x: Feed) -> Profile:
        """Times every op of one run, after an untimed one to warm up. Takes and raises what `infer` does."""
        return Profile.from_core(self._core.profile(self._arrays(x)))

    def trace(self, x: Feed) -> list[LayerOutput]:
        """Runs the network and keeps the output of every op, in order. Takes and raises what `infer` does.

        Integer activations are given as the float32 numbers they stand for.
        """
        return [LayerOutput(*row) for row in self._core.trace(self._arrays(x))]

    def input_shapes(self, **sizes: int) -> list[tuple[int, ...]]:
        """The shape of each input once its symbols have sizes; a symbol that is not given has its minimum."""
        known = {symbol["name"]: symbol["min"] for symbol in self._core.symbols}
        if unknown := sizes.keys() - known.keys():
            raise _core.Error(f"no dynamic dimension {sorted(unknown)}: this model has {sorted(known)}")
        known |= sizes
        return [
            tuple(known[dim] if isinstance(dim, str) else dim for dim in info.shape) for info in self.inputs
        ]

    def memory(self, **sizes: int) -> Memory:
        """Bytes the model occupies while it infers inputs of these symbol sizes (see `input_shapes`)."""
        return Memory(**self._core.memory(self.input_shapes(**sizes)))

    def summary(self) -> str:
        """A table of the layers: op, encoding, parameters and bytes in the file."""
        inputs = ", ".join(f"{info.name}{list(info.shape)}" for info in self.inputs)
        outputs = ", ".join(info.name for info in self.outputs)
        return f"{inputs} -> {outputs}\n\n{self.table()}".replace("'", "")

    def table(self) -> Table:
        """The rows of `summary`."""
        rows = []
        owner: dict[int, str] = {}
        for op in self._core.ops:
            tensors = [self._core.tensors[number] for number in op["tensors"] if number not in owner]
            shared = [owner[number] for number in op["tensors"] if number in owner]
            owner |= {number: op["name"] for number in op["tensors"] if number not in owner}
            rows.append(
                (
                    op["name"],
                    op["kind"],
                    tensors[0]["encoding"] if tensors else f"shared with {shared[0]}" if shared else "",
                    f"{sum(tensor['parameters'] for tensor in tensors):,}" if tensors else "",
                    f"{sum(tensor['bytes'] for tensor in tensors):,}" if tensors else "",
                )
            )
        parameters = sum(tensor["parameters"] for tensor in self._core.tensors)
        weight_bytes = sum(tensor["bytes"] for tensor in self._core.tensors)
        return Table(
            ("layer", "op", "encoding", "parameters", "bytes"),
            3,
            rows,
            ("total", "", "", f"{parameters:,}", f"{weight_bytes:,}"),
        )

    def close(self) -> None:
        """Unmaps the file and ends the threads. Closing twice is fine."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs = ", ".join(f"{info.name}: {info.dtype}{list(info.shape)}" for info in self.inputs)
        try:
            state = f"isa={self.isa} threads={self.threads}"
        except _core.Error:
            state = "closed"
        return f"<pyruntime.Model ({inputs}) {state}>".replace("'", "")

    def _arrays(self, x: Feed) -> list[Input]:
        """The inputs in call order."""
        if isinstance(x, np.ndarray) and len(self.inputs) == 1:  # is no Mapping, which takes long to find out
            return [_array(self.inputs[0], x)]
        names = [info.name for info in self.inputs]
        if isinstance(x, Mapping):
            if x.keys() != set(names):
                raise _core.Error(f"the inputs are {names}, not {sorted(x)}")
            return [_array(info, x[info.name]) for info in self.inputs]
        if len(names) != 1:
            raise _core.Error(f"this model has {len(names)} inputs: pass a dict with the arrays {names}")
        return [_array(self.inputs[0], x)]


def _array(info: InputInfo, value: npt.ArrayLike) -> Input:
    """`value` as an array of the declared kind. Only a cast that loses nothing is made silently."""
    array = np.asarray(value)
    if info.dtype != "float32":
        if array.dtype in (np.int64, np.int32):
            return array
        if array.dtype.kind not in "iub" or array.dtype == np.uint64:
            raise _core.Error(
                f"input '{info.name}' must be {info.dtype}, not {array.dtype}: convert it with "
                f".astype(np.{info.dtype})"
            )
        return np.asarray(array, dtype=np.int64)
    if array.dtype == _FLOAT32:
        return array
    if array.dtype != np.float16:
        raise _core.Error(
            f"input '{info.name}' must be float32 (or float16), not {array.dtype}: convert it with "
            ".astype(np.float32)"
        )
    return array.astype(np.float32)
