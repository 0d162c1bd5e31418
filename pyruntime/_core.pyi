"""The C++ extension; `pyruntime.model` is its public face."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

__version__: str

class Error(ValueError):
    """A file, an input or an argument is not what it has to be; the text says what was expected."""

class InputDict(TypedDict):
    name: str
    dtype: str
    shape: list[int | str]

class OutputDict(TypedDict):
    name: str
    dtype: str

class SymbolDict(TypedDict):
    name: str
    min: int
    max: int

class OpDict(TypedDict):
    name: str
    kind: str
    source: str
    inputs: list[str]
    outputs: list[str]
    tensors: list[int]
    attrs: str

class StreamDict(TypedDict):
    kind: str
    coding: str
    bits: int
    bytes: int

class TensorDict(TypedDict):
    name: str
    encoding: str
    rows: int
    cols: int
    groups: int
    entries: int
    parameters: int
    bytes: int
    streams: list[StreamDict]

class ProfileDict(TypedDict):
    name: str
    kind: str
    source: str
    encoding: str
    kernel: str
    shape: list[int]
    ms: float
    flops: int
    bytes: int

class MemoryDict(TypedDict):
    file_bytes: int
    table_bytes: int
    arena_bytes: int

class Model:
    def __init__(self, path: str, threads: int = 0) -> None: ...
    @property
    def inputs(self) -> list[InputDict]: ...
    @property
    def outputs(self) -> list[OutputDict]: ...
    @property
    def symbols(self) -> list[SymbolDict]: ...
    @property
    def ops(self) -> list[OpDict]: ...
    @property
    def tensors(self) -> list[TensorDict]: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def infer(self, inputs: list[npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]: ...
    def trace(self, inputs: list[npt.NDArray[Any]]) -> list[tuple[str, str, npt.NDArray[np.float32]]]: ...
    def profile(self, inputs: list[npt.NDArray[Any]]) -> list[ProfileDict]: ...
    def memory(self, shapes: Sequence[Sequence[int]]) -> MemoryDict: ...
    def close(self) -> None: ...

def load_bytes(buffer: bytes | bytearray | memoryview, threads: int = 0) -> Model: ...
def available_isas() -> list[str]: ...
