"""Writes docs/format.md: sections, tables and streams to bytes, CRCs, and the atomic rename."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from converters.encodings.stream import Coding, Encoded, StreamKind, Structure, Values
from converters.errors import ConvertError
from converters.graph import Activation, Graph, Op, Value, Weight

MAGIC = b"\x89PYRT\r\n\x1a"
MAJOR, MINOR = 1, 2
ALIGN = 64
SECTIONS = {"STRINGS": 1, "SYMBOLS": 2, "VALUES": 3, "WORDS": 4, "OPS": 5, "TENSORS": 6, "STREAMS": 7}
STRUCTURES = {name: code for code, name in enumerate(get_args(Structure), start=1)}
VALUE_KINDS = {name: code for code, name in enumerate(get_args(Values), start=1)}
STREAM_KINDS = {name: code for code, name in enumerate(get_args(StreamKind), start=1)}
CODINGS = {name: code for code, name in enumerate(get_args(Coding))}
ROLE_INTERNAL, ROLE_INPUT, ROLE_OUTPUT = 0, 1, 2
DTYPES = {"f32": 1, "u8": 2, "i32": 3, "i64": 4, "bits": 5}
# The last codes of 1.0 and of 1.1.
LAST_OPS, LAST_STRUCTURES, LAST_VALUES, LAST_STREAM_KINDS = (17, 25), (3, 4), (3, 6), (6, 6)
ACTIVATIONS = {
    name: code
    for code, name in enumerate(
        [
            "none",
            "clamp",
            "leaky_relu",
            "sigmoid",
            "tanh",
            "silu",
            "hardswish",
            "hardsigmoid",
            "gelu",
            "gelu_tanh",
            "elu",
            "exp",
            "sqrt",
            "abs",
            "softplus",
            "mish",
        ]
    )
}
# Op number and its attributes in order: `act` is the op's activation, `:f` a float, `*` a list of ints.
OPS = {
    "linear": (1, "act"),
    "conv2d": (2, "act kh kw sh sw pad_top pad_left pad_bottom pad_right dh dw"),
    "unary": (3, "act"),
    "binary": (4, "fn act"),
    "scalar": (5, "fn reversed s:f act"),
    "affine": (6, "act"),
    "pool2d": (7, "mode kh kw sh sw pad_h pad_w dh dw ceil_mode count_include_pad divisor"),
    "adaptive_pool2d": (8, "mode oh ow"),
    "concat": (9, "axis"),
    "slice": (10, "axis start stop step"),
    "reshape": (11, "dims*"),
    "permute": (12, "axes*"),
    "reduce": (13, "fn keepdim axes*"),
    "pad": (14, "value:f pads*"),
    "softmax": (15, "axis log"),
    "interpolate": (16, "mode align_corners oh ow scale_h:f scale_w:f"),
    "constant": (17, "dims*"),
    "quantize": (18, "low high"),
    "dequantize": (19, ""),
    "qlinear": (20, "residual_scale:f low high"),
    "qconv2d": (21, "residual_scale:f low high kh kw sh sw pad_top pad_left pad_bottom pad_right dh dw"),
    "qadd": (22, "a_scale:f b_scale:f low high"),
    "qmean": (23, "scale:f low high"),
    "qtable": (24, "table*"),
    "qlinear_dynamic": (25, "act"),
    "embedding": (26, ""),
    "binarize": (27, ""),
    "signs": (28, ""),
    "blinear": (29, "low:f act"),
    "bconv2d": (30, "low:f act pad_value kh kw sh sw pad_top pad_left pad_bottom pad_right dh dw"),
    "recurrent": (31, "cell reverse states"),
    "norm": (32, "rms eps:f"),
    "attention": (33, "scale:f heads kv_heads causal boolean"),
    "product": (34, ""),
    "where": (35, ""),
    "range": (36, "axis start step"),
    "cumsum": (37, "axis"),
}


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self.at = {"": 0}

    def add(self, text: str) -> int:
        if text not in self.at:
            encoded = text.encode()
            if len(encoded) > 255 or 0 in encoded:
                raise ConvertError(f"name {text[:40]!r}... is longer than 255 bytes or holds a NUL")
            self.at[text] = len(self.data)
            self.data += encoded + b"\0"
        return self.at[text]


class _Words:
    """The WORDS pool; equal runs are stored once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.at: dict[bytes, int] = {b"": 0}

    def add(self, words: bytes) -> int:
        if words not in self.at:
            self.at[words] = len(self.data) // 4
            self.data += words
        return self.at[words]

    def ints(self, numbers: list[int]) -> int:
        return self.add(struct.pack(f"<{len(numbers)}i", *numbers))


def write(graph: Graph, tensors: Mapping[Weight, Encoded], path: str | os.PathLike[str]) -> int:
    """Writes `graph` with its encoded weights to `path`, atomically; returns the file's size in bytes.

    Weights mapped to the same Encoded object are stored once.
    """
    data = _serialize(graph, tensors)
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return len(data)


def _serialize(graph: Graph, encoded_of: Mapping[Weight, Encoded]) -> bytearray:
    strings, words = _Strings(), _Words()
    names = {encoded_of[w]: w.name for op in reversed(graph.ops) for w in reversed(op.weights)}
    tensors = list(dict.fromkeys(encoded_of[w] for op in graph.ops for w in op.weights))
    internal = [op.output for op in graph.ops if op.output not in set(graph.outputs)]
    values = [*graph.inputs, *graph.outputs, *internal]

    symbols = b"".join(struct.pack("<4I", strings.add(s.name), s.min, s.max, 0) for s in graph.symbols)
    value_table = b"".join(_value(v, graph, strings, words) for v in values)
    value_number = {value: i for i, value in enumerate(values)}
    tensor_number = {tensor: i for i, tensor in enumerate(tensors)}
    op_table = bytearray()
    for op in graph.ops:
        operands = [value_number[v] for v in (*op.inputs, op.output)]
        operands += [tensor_number[encoded_of[w]] for w in op.weights]
        op_table += _op(op, words.ints(operands), strings, words)
    tensor_table = bytearray()
    first_stream = 0
    for tensor in tensors:
        tensor_table += _tensor(tensor, strings.add(names[tensor]), first_stream)
        first_stream += len(tensor.streams)

    streams = [stream for tensor in tensors for stream in tensor.streams]
    sections = {
        "STRINGS": (bytes(strings.data), len(strings.data)),
        "SYMBOLS": (symbols, len(graph.symbols)),
        "VALUES": (value_table, len(values)),
        "WORDS": (bytes(words.data), len(words.data) // 4),
        "OPS": (bytes(op_table), len(graph.ops)),
        "TENSORS": (bytes(tensor_table), len(tensors)),
        "STREAMS": (b"", len(streams)),  # needs the offsets, filled in below
    }
    offset = _aligned(ALIGN + 32 * len(sections))
    offsets: dict[str, int] = {}
    for name, (content, _) in sections.items():
        offsets[name] = offset
        offset = _aligned(offset + len(content))
    offset = _aligned(offsets["STREAMS"] + 32 * len(streams))
    stream_table = bytearray()
    stream_offsets = []
    for stream in streams:
        stream_offsets.append(offset)
        codes = STREAM_KINDS[stream.kind], CODINGS[stream.coding], stream.bits
        crc = zlib.crc32(stream.data)
        stream_table += struct.pack("<QQI4B2I", offset, len(stream.data), crc, *codes, 0, stream.count, 0)
        offset = _aligned(offset + len(stream.data))
    sections["STREAMS"] = (bytes(stream_table), len(streams))

    section_table = b"".join(
        struct.pack("<IIQQII", SECTIONS[name], zlib.crc32(content), offsets[name], len(content), count, 0)
        for name, (content, count) in sections.items()
    )
    file = bytearray(ALIGN) + section_table
    for name, (content, _) in sections.items():
        _append(file, offsets[name], content)
    for stream, at in zip(streams, stream_offsets, strict=True):
        _append(file, at, stream.data)
    version = MAJOR, _minor(graph, tensors)
    header = struct.pack("<8sHHIQI32x", MAGIC, *version, zlib.crc32(section_table), len(file), len(sections))
    file[:ALIGN] = header + struct.pack("<I", zlib.crc32(header))
    return file


def _minor(graph: Graph, tensors: Sequence[Encoded]) -> int:
    """The oldest version that has all of it, so that older runtimes read what they can."""
    codes = [(OPS[op.kind][0], LAST_OPS) for op in graph.ops]
    codes += [(STRUCTURES[t.structure], LAST_STRUCTURES) for t in tensors]
    codes += [(VALUE_KINDS[t.values], LAST_VALUES) for t in tensors]
    codes += [(STREAM_KINDS[s.kind], LAST_STREAM_KINDS) for t in tensors for s in t.streams]
    newer = (
        any(op.kind in ("binary", "scalar") and op.attrs["fn"] in range(5, 11) for op in graph.ops)
        or any(_from_the_end(op) for op in graph.ops)
        or any(value.dtype != "f32" for value in graph.inputs)
        or any((t.structure, t.values) == ("csr", "s8") for t in tensors)
    )
    return MINOR if newer else max(sum(code > last for last in lasts) for code, lasts in codes)


def _from_the_end(op: Op) -> bool:
    """Whether it is a slice of the form that came with 1.2."""
    return op.kind == "slice" and (int(str(op.attrs["start"])) < 0 or int(str(op.attrs["stop"])) < 0)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN


def _append(file: bytearray, offset: int, content: bytes) -> None:
    file += bytes(offset - len(file)) + content


def _value(value: Value, graph: Graph, strings: _Strings, words: _Words) -> bytes:
    role, dims = ROLE_INTERNAL, 0
    if value in graph.inputs:
        role = ROLE_INPUT
        number = {s.expression: -1 - i for i, s in enumerate(graph.symbols)}
        dims = words.ints([d if isinstance(d, int) else number[d] for d in value.shape])
    elif value in graph.outputs:
        role = ROLE_OUTPUT
    axis = -1 if value.channel_axis is None else value.channel_axis
    name = strings.add(value.name)
    dtype, quant = DTYPES["bits" if value.bits else value.dtype], 0
    if value.quant is not None:
        dtype, quant = DTYPES["u8"], words.add(struct.pack("<fI", value.quant.scale, value.quant.zero))
    return struct.pack("<IBBbBII", name, dtype, value.rank, axis, role, dims, quant)


def _op(op: Op, operands: int, strings: _Strings, words: _Words) -> bytes:
    kind, _ = OPS[op.kind]
    attributes = _attributes(op)
    return struct.pack(
        "<HBBHHIIIIII",
        kind,
        len(op.inputs),
        1,
        len(op.weights),
        0,
        strings.add(op.name),
        strings.add(op.source),
        operands,
        words.add(attributes),
        len(attributes) // 4,
        0,
    )


def _attributes(op: Op) -> bytes:
    packed = b""
    for spec in OPS[op.kind][1].split():
        name = spec.rstrip("*").removesuffix(":f")
        if name == "act":
            packed += _activation(op.act)
            continue
        value = op.attrs[name]
        if isinstance(value, list):
            packed += struct.pack(f"<{len(value)}i", *value)
        else:
            packed += struct.pack("<f" if spec.endswith(":f") else "<i", value)
    return packed


def _activation(act: Activation) -> bytes:
    return struct.pack("<Iff", ACTIVATIONS[act.name], act.p0, act.p1)


def _tensor(tensor: Encoded, name: int, first_stream: int) -> bytes:
    return struct.pack(
        "<IHHIIIIIIQQ",
        name,
        STRUCTURES[tensor.structure],
        VALUE_KINDS[tensor.values],
        tensor.rows,
        tensor.cols,
        tensor.groups,
        tensor.panel_rows,
        first_stream,
        len(tensor.streams),
        tensor.entries,
        tensor.parameters,
    )
