"""What the cases are made with."""

import re
import struct
from collections.abc import Callable

from hostile.bases import dense
from pyrt_edit import Pyrt, one_op, seal, words_of

CASES: dict[str, tuple[bytes, str]] = {}  # by name: the bytes, and a pattern that the error must match


def case(name: str, data: bytes, pattern: str) -> None:
    assert name not in CASES
    re.compile(pattern)
    CASES[name] = data, pattern


def raw(name: str, pattern: str, at: int, form: str, *values: int, base: Callable[[], Pyrt] = dense) -> None:
    """A case that overwrites bytes of a good file and makes the CRCs right."""
    data = bytearray(base().build())
    struct.pack_into("<" + form, data, at, *values)
    case(name, seal(data), pattern)


def edited(name: str, pattern: str, edit: Callable[[Pyrt], object], base: Callable[[], Pyrt] = dense) -> None:
    file = base()
    edit(file)
    case(name, file.build(), pattern)


def put(table: str, row: int, **fields: int) -> Callable[[Pyrt], None]:
    """Sets fields of a row of a table."""
    return lambda file: getattr(file, table)[row].__dict__.update(fields)


def word(value: int, row: str = "ops", field: str = "operands", plus: int = 0) -> Callable[[Pyrt], None]:
    """Sets the word that the first row of a table points at."""
    return lambda file: file.words.__setitem__(getattr(getattr(file, row)[0], field) + plus, value)


def of(operation: str, at: int, value: float | int) -> Callable[[Pyrt], None]:
    """Sets attribute `at` of an op."""
    return lambda f: f.words.__setitem__(f.op(operation).attrs + at, words_of([value])[0])


def op(
    name: str, pattern: str, kind: str, dims: tuple[int, ...], *attrs: int | float, **more: object
) -> None:
    case(name, one_op(kind, dims, attrs, **more).build(), pattern)  # type: ignore[arg-type]


def with_csr(rows: int, cols: int, groups: int = 1) -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_csr("w", rows, cols, groups=groups)]}


def with_vectors(*lengths: int) -> dict[str, object]:
    file = Pyrt()
    return {"file": file, "tensors": [file.add_vector(f"w{i}", n) for i, n in enumerate(lengths)]}
