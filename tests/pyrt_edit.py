"""Takes `.pyrt` files apart and puts them together again, right or wrong: for the tests with hostile files.

Shares no code with converters/ or csrc/. `Pyrt` holds the tables and streams as plain Python objects;
`build()` lays them out by docs/format.md with valid CRCs and does not care what they say. `seal` makes the
CRCs of raw bytes right.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from types import SimpleNamespace as Entry

SECTIONS = ["STRINGS", "SYMBOLS", "VALUES", "WORDS", "OPS", "TENSORS", "STREAMS"]
MAGIC = b"\x89PYRT\r\n\x1a"
HEADER, SECTION_BYTES = 64, 32
FIELDS = {
    "SYMBOLS": ("<4I", "name min max reserved"),
    "VALUES": ("<IBBbBII", "name dtype rank channel_axis role dims quant"),
    "OPS": (
        "<HBBHHIIIIII",
        "kind inputs outputs tensors reserved0 name source operands attrs attr_count reserved1",
    ),
    "TENSORS": (
        "<IHHIIIIIIQQ",
        "name structure values rows cols groups panel_rows first_stream stream_count entries parameters",
    ),
    "STREAMS": ("<QQI4BII", "offset size crc kind coding bits reserved0 count reserved1"),
}
ROWS, PANELS, CSR = 1, 2, 3
F32, CODEBOOK = 1, 2
STREAM = {"VALUES": 1, "BOOK": 2, "INDEX": 3, "ROWS": 4, "COLS": 5, "SCALES": 6, "ORDER": 7, "PLACES": 8}
OPS = [
    "linear",
    "conv2d",
    "unary",
    "binary",
    "scalar",
    "affine",
    "pool2d",
    "adaptive_pool2d",
    "concat",
    "slice",
    "reshape",
    "permute",
    "reduce",
    "pad",
    "softmax",
    "interpolate",
    "constant",
    "quantize",
    "dequantize",
    "qlinear",
    "qconv2d",
    "qadd",
    "qmean",
    "qtable",
    "qlinear_dynamic",
    "embedding",
    "binarize",
    "signs",
    "blinear",
    "bconv2d",
    "recurrent",
    "norm",
    "attention",
    "product",
    "where",
    "range",
    "cumsum",
]
NO_ACT: tuple[int | float, ...] = (0, 0.0, 0.0)


def words_of(numbers: Sequence[int | float]) -> list[int]:
    """Attributes as the u32 words they are stored as."""
    return [
        struct.unpack("<I", struct.pack("<f" if isinstance(n, float) else "<q", n)[:4])[0] for n in numbers
    ]


def aligned(offset: int) -> int:
    return -(-offset // 64) * 64


class Pyrt:
    """The tables of a file, fields named as in docs/format.md; a stream's bytes are its `data`."""

    def __init__(self) -> None:
        self.strings = bytearray(b"\0")
        self.symbols: list[Entry] = []
        self.values: list[Entry] = []
        self.words: list[int] = []
        self.ops: list[Entry] = []
        self.tensors: list[Entry] = []
        self.streams: list[Entry] = []

    @staticmethod
    def parse(data: bytes) -> Pyrt:
        file = Pyrt()
        for i, name in enumerate(SECTIONS):
            _, _, offset, size, _, _ = struct.unpack_from("<IIQQII", data, HEADER + SECTION_BYTES * i)
            content = data[offset : offset + size]
            if name == "STRINGS":
                file.strings = bytearray(content)
            elif name == "WORDS":
                file.words = list(struct.unpack(f"<{size // 4}I", content))
            else:
                form, fields = FIELDS[name]
                rows = [
                    Entry(**dict(zip(fields.split(), row, strict=True)))
                    for row in struct.iter_unpack(form, content)
                ]
                setattr(file, name.lower(), rows)
        for stream in file.streams:
            stream.data = bytearray(data[stream.offset : stream.offset + stream.size])
        return file

    def build(self) -> bytes:
        """The file, laid out and with CRCs as the format asks."""
        at = aligned(HEADER + SECTION_BYTES * len(SECTIONS))
        contents = {name: self._table(name) for name in SECTIONS}
        offsets = {}
        for name, content in contents.items():
            offsets[name] = at
            at = aligned(at + len(content))
        at = aligned(offsets["STREAMS"] + len(contents["STREAMS"]))
        for stream in self.streams:
            stream.offset, stream.size, stream.crc = at, len(stream.data), zlib.crc32(stream.data)
            at = aligned(at + len(stream.data))
        contents["STREAMS"] = self._table("STREAMS")
        file = bytearray(HEADER)
        for i, (name, content) in enumerate(contents.items()):
            count = len(content) // (
                struct.calcsize(FIELDS[name][0]) if name in FIELDS else 4 if name == "WORDS" else 1
            )
            file += struct.pack("<IIQQII", i + 1, 0, offsets[name], len(content), count, 0)
        for name, content in contents.items():
            file += bytes(offsets[name] - len(file)) + content
        for stream in self.streams:
            file += bytes(stream.offset - len(file)) + stream.data
        struct.pack_into("<8sHHIQI", file, 0, MAGIC, 1, 2, 0, len(file), len(SECTIONS))
        return seal(file)

    def _table(self, name: str) -> bytes:
        if name == "STRINGS":
            return bytes(self.strings)
        if name == "WORDS":
            return struct.pack(f"<{len(self.words)}I", *self.words)
        form, fields = FIELDS[name]
        rows = getattr(self, name.lower())
        return b"".join(struct.pack(form, *(getattr(row, field) for field in fields.split())) for row in rows)

    def name(self, row: Entry) -> str:
        return self.strings[row.name : self.strings.index(0, row.name)].decode()

    def op(self, name: str) -> Entry:
        return next(op for op in self.ops if self.name(op) == name)

    def tensor(self, name: str) -> Entry:
        return next(tensor for tensor in self.tensors if self.name(tensor) == name)

    def stream(self, tensor: str, kind: str) -> Entry:
        t = self.tensor(tensor)
        return next(s for s in self.streams[t.first_stream :][: t.stream_count] if s.kind == STREAM[kind])

    def string(self, text: str) -> int:
        """The offset of a new string."""
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add_words(self, numbers: Sequence[int | float]) -> int:
        self.words += words_of(numbers)
        return len(self.words) - len(numbers)

    def add_value(self, name: str, rank: int, axis: int, role: int = 0, dims: Sequence[int] = ()) -> int:
        """The number of a new value; `dims` for graph inputs (role 1). Role 2 is an output."""
        at = self.add_words(dims) if role == 1 else 0
        fields = {"dtype": 1, "rank": rank, "channel_axis": axis, "role": role, "dims": at, "quant": 0}
        self.values.append(Entry(name=self.string(name), **fields))
        return len(self.values) - 1

    def add_tensor(
        self,
        name: str,
        rows: int,
        cols: int,
        *streams: tuple[str, bytes, int],
        groups: int = 1,
        panel_rows: int = 0,
    ) -> int:
        """The number of a new tensor of raw streams (kind, data, bits): csr if one is ROWS."""
        kinds = [kind for kind, _, _ in streams]
        structure = CSR if "ROWS" in kinds else PANELS if panel_rows else ROWS
        values = CODEBOOK if "BOOK" in kinds else F32
        panels = groups * -(-rows // groups // 16) * 16
        entries = panels * cols if structure == PANELS else rows * cols
        if structure == CSR:
            entries = sum(8 * len(data) // bits for kind, data, bits in streams if kind == "COLS")
        self.tensors.append(
            Entry(
                name=self.string(name),
                structure=structure,
                values=values,
                rows=rows,
                cols=cols,
                groups=groups,
                panel_rows=panel_rows,
                first_stream=len(self.streams),
                stream_count=len(streams),
                entries=entries,
                parameters=rows * cols,
            )
        )
        for kind, data, bits in streams:
            fields = {"kind": STREAM[kind], "coding": 0, "bits": bits, "reserved0": 0, "reserved1": 0}
            count = len(data) // 4 if kind == "BOOK" else 32 if kind == "SCALES" else 0
            self.streams.append(Entry(offset=0, size=0, crc=0, count=count, data=bytearray(data), **fields))
        return len(self.tensors) - 1

    def add_u8(self, name: str, rank: int, axis: int, scale: float, zero: int) -> int:
        """The number of a new integer value."""
        number = self.add_value(name, rank, axis)
        self.values[number].dtype, self.values[number].quant = 2, self.add_words([float(scale), zero])
        return number

    def add_integers(
        self, name: str, rows: int, cols: int, data: bytes, *, bits: int = 8, panel_rows: int = 0
    ) -> int:
        """The number of a new s8, i16 or i32 tensor."""
        number = self.add_tensor(name, rows, cols, ("VALUES", data, bits), panel_rows=panel_rows)
        self.tensors[number].values, self.tensors[number].entries = (
            {8: 4, 16: 13, 32: 5}[bits],
            8 * len(data) // bits,
        )
        return number

    def add_bits(self, name: str, rows: int, cols: int, data: bytes) -> int:
        """The number of a new tensor of bits, one group."""
        number = self.add_tensor(name, rows, cols, ("VALUES", data, 1), panel_rows=32)
        self.tensors[number].__dict__.update(values=7, entries=8 * len(data))
        return number

    def give(self, op: str, operand: int, value: int) -> None:
        """Makes an op read or write another value."""
        self.words[self.op(op).operands + operand] = value

    def become(self, op: str, kind: str, attrs: Sequence[int | float]) -> None:
        """Makes an op one of another kind."""
        row = self.op(op)
        row.kind, row.attrs, row.attr_count = OPS.index(kind) + 1, self.add_words(attrs), len(attrs)

    def add_csr(self, name: str, rows: int, cols: int, *, groups: int = 1) -> int:
        """An all-zero csr tensor: many columns, no bytes."""
        empty = ("ROWS", bytes(4 * (groups + 1) + rows), 8), ("COLS", b"", 8), ("VALUES", b"", 32)
        return self.add_tensor(name, rows, cols, *empty, groups=groups, panel_rows=rows // groups)

    def add_vector(self, name: str, rows: int, cols: int = 1, groups: int = 1) -> int:
        return self.add_tensor(name, rows, cols, ("VALUES", bytes(4 * rows * cols), 32), groups=groups)

    def add_op(
        self,
        kind: str | int,
        name: str,
        inputs: Sequence[int],
        output: int | Sequence[int],
        tensors: Sequence[int] = (),
        attrs: Sequence[int | float] = (),
    ) -> Entry:
        outputs = [output] if isinstance(output, int) else list(output)
        op = Entry(
            kind=OPS.index(kind) + 1 if isinstance(kind, str) else kind,
            inputs=len(inputs),
            outputs=len(outputs),
            tensors=len(tensors),
            reserved0=0,
            name=self.string(name),
            source=0,
            operands=self.add_words([*inputs, *outputs, *tensors]),
            attrs=self.add_words(attrs),
            attr_count=len(attrs),
            reserved1=0,
        )
        self.ops.append(op)
        return op


def one_op(
    kind: str | int,
    dims: Sequence[int],
    attrs: Sequence[int | float] = (),
    *,
    axis: int = 1,
    out: tuple[int, int] | None = None,
    inputs: int = 1,
    file: Pyrt | None = None,
    tensors: Sequence[int] = (),
) -> Pyrt:
    """x (float32, fixed dims) -> layer `the_op` -> y. `out` is the (rank, channel axis) of y, if not x's."""
    file = file or Pyrt()
    xs = [file.add_value(f"x{i}", len(dims), axis, 1, dims) for i in range(max(inputs, 1))]
    y = file.add_value("y", *(out or (len(dims), axis)), 2)
    file.add_op(kind, "the_op", xs[:inputs], y, tensors, attrs)
    return file


def huffman(lengths: Sequence[int], chunks: Sequence[Sequence[int]]) -> bytes:
    """A Huffman-coded stream of chunks of symbols; the code need not be complete."""
    codes, code, previous = {}, 0, 0
    for symbol in sorted((s for s, n in enumerate(lengths) if n), key=lambda s: (lengths[s], s)):
        code <<= lengths[symbol] - previous
        previous = lengths[symbol]
        codes[symbol] = format(code, f"0{previous}b")
        code += 1
    blobs = []
    for symbols in chunks:
        q = -(-len(symbols) // 4)
        texts = ["".join(codes[s] for s in symbols[min(j * q, len(symbols)) : (j + 1) * q]) for j in range(4)]
        strings = [int(t[::-1] or "0", 2).to_bytes(-(-len(t) // 8), "little") for t in texts]
        blobs.append(struct.pack("<3H", *map(len, strings[:3])) + b"".join(strings) if symbols else b"")
    nibbles = [*lengths, *[0] * (-len(lengths) % 8)]
    head = bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    offsets = [sum(map(len, blobs[:i])) for i in range(len(blobs) + 1)]
    return head + struct.pack(f"<{len(offsets)}I", *offsets) + b"".join(blobs) + bytes(8)


def section(data: bytes, name: str) -> int:
    """Where the entry of a section lies in the section table of raw bytes."""
    return HEADER + SECTION_BYTES * SECTIONS.index(name)


def seal(data: bytes | bytearray) -> bytes:
    """The same bytes with the CRCs of streams, sections, section table and header made right."""
    file = bytearray(data)
    _, _, offset, size, _, _ = struct.unpack_from("<IIQQII", file, section(file, "STREAMS"))
    for at in range(offset, min(offset + size, len(file)) - 31, 32):
        start, n = struct.unpack_from("<QQ", file, at)
        struct.pack_into("<I", file, at + 16, zlib.crc32(file[start : start + n]))
    for name in SECTIONS:
        at = section(file, name)
        start, n = struct.unpack_from("<QQ", file, at + 8)
        struct.pack_into("<I", file, at + 4, zlib.crc32(file[start : start + n]))
    struct.pack_into("<I", file, 12, zlib.crc32(file[HEADER : HEADER + SECTION_BYTES * len(SECTIONS)]))
    struct.pack_into("<I", file, 60, zlib.crc32(file[:60]))
    return bytes(file)
