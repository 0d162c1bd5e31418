"""Files that may be anything: each gives an error that names the place and the rule, never a crash."""

import os
import random
import re
import struct
import subprocess
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hostile import bases
from hostile.make import CASES, COMMITTED
from pyrt_edit import NO_ACT, SECTIONS, Entry, Pyrt, one_op, seal, section

import pyruntime
from pyruntime import _core

TESTS = Path(__file__).parent
GOLDEN = {path.stem: path.read_bytes() for path in sorted((TESTS / "golden").glob("*.pyrt"))}


def refusal(data: bytes) -> str:
    """The error of loading these bytes, or of inferring on zeros with the smallest sizes allowed."""
    try:
        model = _core.load_bytes(data, threads=1)
    except pyruntime.Error as error:
        return str(error)
    shapes = pyruntime.Model(model).input_shapes()
    with pytest.raises(pyruntime.Error) as raised:
        model.memory([list(shape) for shape in shapes])
    if np.prod(shapes, dtype=float) < 1e6:
        with pytest.raises(pyruntime.Error, match=re.escape(str(raised.value))):
            model.infer([np.zeros(shape, np.float32) for shape in shapes])
    return str(raised.value)


def run_sanitized(folder: Path, *arguments: str | Path, isa: str = "") -> list[str]:
    """The lines that load_file prints; fails on any crash, sanitizer report or allocation over 2 GB."""
    environment = os.environ | {
        "ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=2048",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYRUNTIME_ISA": isa,
    }
    command = [folder / "load_file", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, f"load_file {arguments[:4]}:\n{done.stdout[-500:]}{done.stderr[-8000:]}"
    return done.stdout.splitlines()


def sanitized(folder: Path, tmp_path: Path, files: Sequence[bytes]) -> list[str]:
    paths = [tmp_path / f"{i}.pyrt" for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    return run_sanitized(folder, *paths)


@pytest.mark.parametrize("name", CASES)
def test_broken_rule_is_named(name: str) -> None:
    data, pattern = CASES[name]
    assert re.search(pattern, refusal(data))


def test_broken_rules_under_sanitizers(cpp_build_sanitized: Path, tmp_path: Path) -> None:
    lines = sanitized(cpp_build_sanitized, tmp_path, [data for data, _ in CASES.values()])
    for (name, (_, pattern)), line in zip(CASES.items(), lines, strict=True):
        assert re.search(pattern, line), name


def test_the_files_before_they_are_broken_are_good() -> None:
    for base in ("sparse", "dense", "raw_csr", "blocks", "integer"):
        model = _core.load_bytes(getattr(bases, base)().build())
        (shape,) = pyruntime.Model(model).input_shapes()
        (y,) = model.infer([np.ones(shape, np.float32)])
        assert np.isfinite(y).all()


def test_committed_files(cpp_build_sanitized: Path) -> None:
    """They are what make.py makes; a reader of another language may be tested with them."""
    paths = sorted((TESTS / "hostile").glob("*.pyrt"))
    assert {path.stem for path in paths} == set(COMMITTED)
    for path in paths:
        assert path.read_bytes() == CASES[path.stem][0]
        with pytest.raises(pyruntime.Error, match=CASES[path.stem][1]) as raised:
            model = pyruntime.load(path)
            model.infer(
                {
                    info.name: np.zeros(shape, np.float32)
                    for info, shape in zip(model.inputs, model.input_shapes(), strict=True)
                }
            )
        if "layer" not in str(raised.value):
            assert str(path) in str(raised.value)
    for line, path in zip(run_sanitized(cpp_build_sanitized, *paths), paths, strict=True):
        assert re.search(CASES[path.stem][1], line)


@pytest.mark.parametrize("name", GOLDEN)
def test_truncated(name: str, cpp_build_sanitized: Path, tmp_path: Path) -> None:
    data = GOLDEN[name]
    sizes = {*range(0, len(data), 64), *random.Random(0).sample(range(len(data)), 64), len(data) - 1}
    cut = [data[:size] for size in sorted(sizes)]
    # As it is, and with a header that knows the size.
    cut += [
        seal(short[:16] + struct.pack("<Q", len(short)) + short[24:]) for short in cut if len(short) >= 288
    ]
    for short in cut:
        assert re.match(r"header: |section \w+: |the file has ", refusal(short))
    for line in sanitized(cpp_build_sanitized, tmp_path, cut):
        assert "header: " in line or "section " in line


def test_longer_than_declared() -> None:
    assert "header: declares" in refusal(GOLDEN["conv"] + b"\0")


def test_every_header_bit() -> None:
    for bit in range(8 * 64):
        if bit in (80, 81):
            continue  # versions 1.1 and 1.2, which hold all that 1.0 does
        data = bytearray(GOLDEN["conv"])
        data[bit // 8] ^= 1 << bit % 8
        assert refusal(data).startswith("header: ")
        struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
        if bit < 8 * 60:
            assert re.match("header: |section table: CRC mismatch", refusal(data)), bit


def test_every_section_table_bit() -> None:
    for bit in range(8 * 64, 8 * 288):
        data = bytearray(GOLDEN["conv"])
        data[bit // 8] ^= 1 << bit % 8
        assert refusal(data).startswith("section table: CRC mismatch")


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_has_a_crc(name: str) -> None:
    data = bytearray(GOLDEN["conv"])
    offset, size = struct.unpack_from("<QQ", data, section(data, name) + 8)
    for at in (offset, offset + size // 2, offset + size - 1):
        damaged = data.copy()
        damaged[at] ^= 0x10
        assert f"section {name}: CRC mismatch" in refusal(damaged)


@pytest.mark.parametrize("name", GOLDEN)
def test_damage_to_a_stream_names_its_tensor(name: str) -> None:
    file = Pyrt.parse(GOLDEN[name])
    for tensor in file.tensors:
        for stream in file.streams[tensor.first_stream :][: tensor.stream_count]:
            data = bytearray(GOLDEN[name])
            data[stream.offset + len(stream.data) // 2] ^= 1
            assert f"(tensor {file.name(tensor)}): CRC mismatch" in refusal(data)


def test_every_byte_is_covered() -> None:
    """By a CRC, or it is a zero that is checked."""
    for at in range(len(GOLDEN["ops"])):
        data = bytearray(GOLDEN["ops"])
        data[at] ^= 0x80
        refusal(data)


def test_too_many_entries() -> None:
    file = one_op("unary", (1, 4), NO_ACT)
    file.symbols = [Entry(name=0, min=1, max=1, reserved=0)] * (2**16 + 1)
    assert "section SYMBOLS: more than 65536 entries" in refusal(file.build())


def test_an_op_with_very_many_tensors() -> None:
    file = one_op("unary", (1, 4), NO_ACT)
    file.words += [0] * 70000
    file.ops[0].tensors = 65535
    assert "entry 0 (the_op): more tensors than any op takes" in refusal(file.build())


def test_long_chains_are_planned_in_linear_time() -> None:
    """2^15 views of views, in-place ops and concats of concats: seconds if any of them costs its depth."""
    for kind, attrs in (
        ("unary", NO_ACT),
        ("reshape", (-2, -3)),
        ("slice", (1, 0, 2**31 - 1, 1)),
        ("concat", (1,)),
    ):
        file = one_op(kind, (1, 4), attrs)
        first, last = file.ops[0], file.values[1]
        file.values += [Entry(**{**vars(last), "role": 0}) for _ in range(2**15)]
        numbers = [0, *range(2, len(file.values)), 1]
        file.ops = []
        for source, target in pairwise(numbers):
            file.ops.append(Entry(**{**vars(first), "operands": file.add_words([source, target])}))
        model = _core.load_bytes(file.build(), threads=1)
        x = np.array([[1, 2, 3, 4]], np.float32)
        np.testing.assert_array_equal(model.infer([x])[0], x)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pyrt"):
        pyruntime.load(tmp_path / "none.pyrt")
    with pytest.raises(OSError, match="not a regular file"):
        pyruntime.load(tmp_path)
    with pytest.raises(OSError, match="not a regular file"):
        pyruntime.load("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        pyruntime.load(tmp_path / "pipe")


def test_a_buffer_must_be_contiguous() -> None:
    with pytest.raises(pyruntime.Error, match="contiguous"):
        _core.load_bytes(memoryview(GOLDEN["conv"])[::-1])


@pytest.mark.parametrize(
    ("kind", "attrs", "dims", "sizes"),
    [
        ("pad", (0.0, *[2**20] * 12), [-1] * 6, 2**5),
        ("pool2d", (0, *[2**20] * 4, 2**19, 2**19, 1, 1, 0, 1, 0), [-1, 1, -1, -1], 2**12),
        ("interpolate", (1, 0, 0, 0, 4096.0, 4096.0), [1, 1, -1, -1], 2**17),
        ("slice", (0, 0, 2**31 - 1, 2**31 - 1), [-1, -1], 2**17),
        ("reduce", (0, 0, 0, 1), [-1, -1], 2**18),
        ("adaptive_pool2d", (1, 2**20, 2**20), [-1, 1, 1, 1], 2**20),
    ],
)
def test_arithmetic_of_shapes_does_not_overflow(
    kind: str,
    attrs: tuple[int | float, ...],
    dims: list[int],
    sizes: int,
    cpp_build_sanitized: Path,
    tmp_path: Path,
) -> None:
    """Plans (and where it is small runs) with the largest attributes on large inputs, watched by UBSan."""
    out = (0, -1) if kind == "reduce" else None
    file = (
        one_op(kind, dims, attrs, out=out)
        if kind != "reduce"
        else one_op(kind, dims, attrs, axis=-1, out=out)
    )
    name = file.string("n")
    for smallest in (1, sizes, 2**31 - 1):
        file.symbols = [Entry(name=name, min=smallest, max=2**31 - 1, reserved=0)]
        (line,) = sanitized(cpp_build_sanitized, tmp_path, [file.build()])
        assert re.match("OK|layer the_op|input|activation|no memory", line), line


@pytest.mark.parametrize("name", GOLDEN)
def test_mutations(name: str, cpp_build_sanitized: Path) -> None:
    run_sanitized(cpp_build_sanitized, "--mutate", "2000", "0", TESTS / "golden" / f"{name}.pyrt")


@pytest.mark.parametrize("isa", _core.available_isas())
def test_good_files_under_sanitizers(isa: str, cpp_build_sanitized: Path) -> None:
    paths = [TESTS / "golden" / f"{name}.pyrt" for name in GOLDEN]
    assert run_sanitized(cpp_build_sanitized, *paths, isa=isa) == ["OK"] * len(paths)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*GOLDEN, *("sparse", "dense", "raw_csr", "blocks")])
def test_many_mutations(name: str, cpp_build_sanitized: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.pyrt"
    path.write_bytes(GOLDEN[name] if name in GOLDEN else getattr(bases, name)().build())
    run_sanitized(cpp_build_sanitized, "--mutate", "200000", "1000000", path)


@pytest.mark.parametrize("size", [1, 9])
def test_symbol_out_of_range(size: int) -> None:
    model = _core.load_bytes(bases.sparse().build())
    with pytest.raises(
        pyruntime.Error, match=r"input 'x': expected shape \(batch, 9\).* batch must be 2 to 8"
    ):
        model.infer([np.zeros((size, 9), np.float32)])
