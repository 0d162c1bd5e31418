"""Finds what structure a weight matrix has and picks its exact encoding, by bytes, by time, or by both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from converters.encodings import (
    bcsr,
    bits,
    codebook,
    csr,
    integers,
    pairs,
    panels,
    product,
    rows,
    scaled,
    ternary,
)
from converters.encodings.costs import costs, is_expanded
from converters.encodings.stream import Encoded, Values
from converters.graph import Matrix, Weight

Prefer = Literal["size", "speed", "auto"]

WITH_ROWS = ("panels+f32", "panels+f16", "panels+codebook", "panels+product")  # that one by one can be read
INTEGER_ROLES = ("s8 matrix", "s8 depthwise", "s8 table", "i32 vector", "i16 vector", "bits")
INTEGER_PRODUCTS = ("s8 matrix", "s8 depthwise")
# of a value; a Huffman code has a bit at least
LEAST_BYTES = {
    "f32": 4,
    "f16": 2,
    "q8": 1,
    "q4": 0.5,
    "ternary": 1 / 4,
    "binary": 1 / 8,
    "codebook": 1 / 8,
    "product": 0,
    "s8": 1,
    "s4": 1 / 2,
    "s8book": 1 / 8,
}
MIN_ZEROS = 0.05  # with fewer zeros CSR is neither smaller nor faster
MIN_EMPTY = 0.1  # of all blocks of four rows, for blocks to be worth a thought
MIN_ORDERED = 0.9  # blocks of neighbours that are fuller need no other order of the rows
MIN_FULL = 0.4  # of a block of four rows that is worth storing whole: two of four, mostly
MARGIN = 0.92  # of the dense time, that another structure may take: estimates are off by as much
SLACK = 1.25  # how much slower than the fastest encoding `auto` may be for fewer bytes
LIKE_DENSE = 1.05  # of the dense time, that a product codebook may take for an eighth of the bytes and less


@dataclass(frozen=True)
class Choice:
    """The encoding of one weight, and why. `time_ns` is the cost table's estimate at batch 1, one thread."""

    encoded: Encoded
    nnz: int
    distinct: int | None  # None: more than 256
    time_ns: float
    why: str


def scaling_spoils(matrix: Matrix, scale: npt.NDArray[np.float64]) -> bool:
    """Whether multiplying the rows of f32 [M, K] by scale [M, 1] would cost a compact encoding.

    So it is where the non-zeros share so few values that a book and indices are worth having, are all f16, or
    lie on grids. Rows of two or three values remain that, except if scaled by 0, which takes their signs.
    """
    if ternary.find(matrix) is not None:
        return not bool(scale.all())
    book = codebook.distinct(matrix)
    if book is None:
        others = scaled.find(matrix) is not None or product.find(matrix) is not None
        return codebook.fits_f16(matrix) or others
    nnz = np.count_nonzero(matrix)
    packed = 4 * book.size + nnz * codebook.index_bits(book.size) / 8
    return bool(packed < 0.75 * 4 * nnz)


def choose(weight: Weight, prefer: Prefer) -> Choice:
    """Encodes `weight` in the best of all ways that suit it.

    size: fewest bytes. speed: least time by the cost table. auto: fewest bytes among those that take
    at most 1.25 times the least time and no more than the dense f32 layout, of which another structure must
    save a part. A product codebook may take 1.05 times the dense time: it multiplies as fast, and the table
    does not tell one from the other better than that.
    """
    if weight.role in INTEGER_ROLES:
        nonzero = int(np.count_nonzero(weight.matrix))
        if weight.role == "bits":
            encoded = bits.encode(weight)
            return Choice(encoded, encoded.parameters, 2, 0.0, "two values in every row")
        if weight.role in INTEGER_PRODUCTS:
            return _integers(weight, prefer)
        return Choice(integers.encode(weight), nonzero, None, 0.0, "integers are stored as they are")
    matrix = np.asarray(weight.matrix, np.float32)
    nnz = int(np.count_nonzero(matrix))
    if weight.role in ("vector", "constant"):
        encoded = rows.encode(matrix, 1, "f32")
        return Choice(encoded, nnz, None, 0.0, "vectors are stored as they are")
    if weight.role == "embedding":
        return _table(matrix, prefer, nnz)
    book = codebook.distinct(matrix)
    ways = _ways(weight, matrix, book)
    dense = ways[0]
    times = [estimate_ns(way.kind, way.entries, weight) for way in ways]
    if prefer == "size":
        after = [*(way.kind for way in ways[1:]), ""]  # a way is followed by its Huffman-coded form
        tried = [
            way for way, next_kind in zip(ways, after, strict=True) if next_kind != way.kind + "+huffman"
        ]
        why = "fewest bytes"
    elif prefer == "speed":
        tried = [ways[int(np.argmin(times))]]
        why = "least time"
    else:
        dense_ns, slack_ns, structure = times[0], SLACK * min(times), dense.kind.split("+")[0]

        def most(kind: str) -> float:
            """The time that this kind may take."""
            if kind.split("+")[1] == "product":
                return LIKE_DENSE * dense_ns
            return dense_ns if kind.startswith(structure) else MARGIN * dense_ns

        tried = [way for way, ns in zip(ways, times, strict=True) if ns <= min(slack_ns, most(way.kind))]
        why = f"fewest bytes within {SLACK:g}x of the least time"
    encoded = _smallest(tried)
    time_ns = estimate_ns(encoded.kind, encoded.stored, weight)
    size, slower = encoded.bytes / (4 * dense.entries), time_ns / times[0]
    why = f"{why}: {size:.1%} of the bytes, {slower:.2f}x the time of plain f32"
    zeros = 1 - nnz / matrix.size
    if len(ways) == 1:
        why = f"{zeros:.1%} zeros, over 256 distinct values: nothing to exploit"
    elif zeros >= MIN_ZEROS and weight.role == "matrix":
        where = "here" if costs().here else "where the shipped costs were measured (`pyruntime tune`)"
        why += f"; {zeros:.0%} zeros: CSR breaks even at {break_even(weight):.0%} {where}"
    return Choice(encoded, nnz, None if book is None else book.size, time_ns, why)


def _integers(weight: Weight, prefer: Prefer) -> Choice:
    """The weight of an integer layer.

    Other forms than dense are expanded to that. So `auto` takes one only if it halves the bytes, and takes
    no longer than plain f32 and 1.25 times the dense integers.
    """
    dense, *others = _integer_ways(weight)
    dense_ns = estimate_ns(dense.kind, dense.entries, weight)
    if weight.role == "s8 depthwise":
        floats = estimate_ns("rows+f32", weight.matrix.size, weight)
    else:
        floats = estimate_ns("panels+f32", dense.entries, weight)

    def time_of(kind: str, entries: int) -> float:
        return estimate_ns(kind, entries, weight) + (dense_ns if is_expanded(kind) else 0.0)

    encoded = dense.encode()
    if prefer != "speed":
        limit = min(SLACK * dense_ns, floats)
        tried = [w for w in others if prefer == "size" or time_of(w.kind, w.entries) <= limit]
        enough = encoded.bytes if prefer == "size" else encoded.bytes / 2
        smallest = _smallest(tried) if tried else encoded
        if smallest.bytes <= enough:
            encoded = smallest
    time_ns = time_of(encoded.kind, encoded.stored)
    why = f"computed on as integers, in {time_ns / floats:.2f}x the time of plain f32"
    if encoded.kind != dense.kind:
        size = encoded.bytes / dense.entries
        why += f" and {time_ns / dense_ns:.2f}x that of s8, with {size:.1%} of its bytes"
    nonzero, distinct = np.count_nonzero(weight.matrix), np.unique(weight.matrix).size
    return Choice(encoded, int(nonzero), int(distinct), time_ns, why)


def _table(matrix: Matrix, prefer: Prefer, nnz: int) -> Choice:
    """An embedding table: a row is read in no time; of a Huffman-coded one all of its chunk is."""
    book = codebook.distinct(matrix)
    codewords = product.find(matrix)
    if codewords is not None and (book is None or codewords.bits < codebook.index_bits(book.size)):
        encoded = product.encode(matrix, 1, codewords, "rows", prefer == "size")
        return Choice(
            encoded, nnz, None if book is None else book.size, 0.0, "rows of a table, read one by one"
        )
    if book is None:
        kind: Values = "f16" if codebook.fits_f16(matrix) else "f32"
        return Choice(rows.encode(matrix, 1, kind), nnz, None, 0.0, "rows of a table, read one by one")
    encoded = rows.encode_coded(matrix) if prefer == "size" else rows.encode(matrix, 1, "codebook")
    return Choice(encoded, nnz, book.size, 0.0, "rows of a table, read one by one")


def choose_kind(weight: Weight, kind: str) -> Choice | None:
    """Encodes `weight` as `kind`, whatever that costs (time_ns: NaN); None if it has not what that takes."""
    integer = weight.role in INTEGER_PRODUCTS
    if weight.role in ("vector", "constant", "embedding", *INTEGER_ROLES) and not integer:
        return None
    matrix = weight.matrix if integer else np.asarray(weight.matrix, np.float32)
    book = codebook.distinct(matrix)
    ways = _integer_ways(weight) if integer else _ways(weight, matrix, book)
    way = next((way for way in ways if way.kind == kind), None)
    if way is None:
        return None
    distinct = None if book is None else book.size
    return Choice(way.encode(), int(np.count_nonzero(matrix)), distinct, float("nan"), "asked for")


@dataclass(frozen=True)
class _Way:
    """An encoding that is not made yet; it may turn out without Huffman, where that gains little."""

    kind: str
    entries: int
    encode: Callable[[], Encoded]

    @property
    def least_bytes(self) -> float:
        """What its values take at least."""
        return self.entries * LEAST_BYTES[self.kind.split("+")[1]]


def _smallest(ways: list[_Way]) -> Encoded:
    """The encoding of fewest bytes. To encode a large weight takes long, so what cannot win is left out."""
    first, *others = sorted(ways, key=lambda way: way.least_bytes)
    best = first.encode()
    for way in others:
        if way.least_bytes < best.bytes:
            best = min(best, way.encode(), key=lambda encoded: encoded.bytes)
    return best


def _ways(weight: Weight, matrix: Matrix, book: Matrix | None) -> list[_Way]:
    """The ways to encode a matrix, the dense f32 one first."""
    ways = _matrix_ways(weight, matrix, book)
    return [way for way in ways if way.kind in WITH_ROWS] if weight.tied else ways


def _matrix_ways(weight: Weight, matrix: Matrix, book: Matrix | None) -> list[_Way]:
    groups = weight.groups
    kinds: list[Values] = ["f32", "f16"] if codebook.fits_f16(matrix) else ["f32"]
    if weight.role == "depthwise":
        ways = [_Way(f"rows+{v}", matrix.size, partial(rows.encode, matrix, groups, v)) for v in kinds]
        if book is not None:
            ways.append(_Way("rows+codebook", matrix.size, partial(rows.encode, matrix, groups, "codebook")))
    else:
        entries = panels.entries(matrix, groups)
        ways = [_Way(f"panels+{v}", entries, partial(panels.encode, matrix, groups, v, False)) for v in kinds]
        if book is not None:
            packed = partial(panels.encode, matrix, groups, "codebook")
            ways.append(_Way("panels+codebook", entries, partial(packed, False)))
            ways.append(_Way("panels+codebook+huffman", entries, partial(packed, True)))
        grid = scaled.find(matrix)
        if grid is not None:
            kind, size = f"panels+q{grid.bits}", scaled.entries(matrix, groups, grid.bits)
            ways.append(_Way(kind, size, partial(scaled.encode, matrix, groups, grid)))
        planes = ternary.find(matrix)
        if planes is not None:
            kind, size = f"panels+{planes.values}", ternary.entries(matrix, groups)
            ways.append(_Way(kind, size, partial(ternary.encode, matrix, groups, planes)))
        found = product.find(matrix)
        if found is not None:
            coded = partial(product.encode, matrix, groups, found, "panels")
            ways.append(_Way("panels+product", entries, partial(coded, False)))
            ways.append(_Way("panels+product+huffman", entries, partial(coded, True)))
    if np.count_nonzero(matrix) > (1 - MIN_ZEROS) * ways[0].entries:
        return ways
    few: list[Values] = ["codebook"] if book is not None else []
    ways += _csr_ways(matrix, groups, kinds + few)
    if weight.role == "matrix":
        ways += _block_ways(matrix, groups, kinds, book is not None)
    if weight.role == "matrix" and pairs.fits(matrix):
        size = pairs.entries(matrix, groups)
        for values in (*kinds, *(["codebook"] if book is not None else [])):
            ways.append(
                _Way(f"2:4+{values}", size, partial(pairs.encode, matrix, groups, cast(Values, values)))
            )
    return ways


def _integer_ways(weight: Weight) -> list[_Way]:
    """The ways to encode the weight of an integer layer, the dense one first."""
    matrix, groups = weight.matrix, weight.groups
    if weight.role == "s8 depthwise":
        stored = -(-len(matrix) // 4) * -(-matrix.shape[1] // 4) * 16
        return [_Way("rows+s8", stored, partial(integers.encode, weight))]
    few = matrix.min() >= -8 and matrix.max() <= 7 and not weight.tied
    entries = panels.entries(matrix, groups)
    ways = [_Way(f"panels+{'s4' if few else 's8'}", entries, partial(integers.encode, weight))]
    if weight.tied:  # only rows of plain bytes are read one by one
        return ways
    book = partial(integers.encode_book, matrix, groups)
    ways.append(_Way("panels+s8book", entries, partial(book, False)))
    ways.append(_Way("panels+s8book+huffman", entries, partial(book, True)))
    if np.count_nonzero(matrix) <= (1 - MIN_ZEROS) * entries:
        ways += _csr_ways(matrix, groups, ["s8", "s8book"])
    return [replace(way, encode=partial(_counted, way.encode, weight)) for way in ways]


def _counted(encode: Callable[[], Encoded], weight: Weight) -> Encoded:
    """With the number of parameters of the torch tensor, whose columns were filled up to fours."""
    return replace(encode(), parameters=weight.parameters or weight.matrix.size)


def _csr_ways(matrix: npt.NDArray[Any], groups: int, kinds: list[Values]) -> list[_Way]:
    """Ways in CSR, with column deltas of 8 bits, and of 16 if they are too few."""
    ways = []
    for delta_bits in (8, 16):
        pattern = csr.collect(matrix, delta_bits)
        nnz = pattern.values.size
        for values in kinds:
            booked = values in ("codebook", "s8book")
            if booked and codebook.distinct(pattern.values) is None:
                continue
            encode = partial(csr.encode, matrix, groups, pattern, values)
            ways.append(_Way(f"csr+{values}", nnz, partial(encode, False)))
            if booked or delta_bits == 8:
                ways.append(_Way(f"csr+{values}+huffman", nnz, partial(encode, True)))
        if pattern.fillers == 0:
            break  # wider deltas would only cost bytes
    return ways


def _block_ways(matrix: Matrix, groups: int, kinds: list[Values], few: bool) -> list[_Way]:
    """Ways in blocks of rows, neighbours or not, if these are full enough to be of use."""
    ways = []
    nnz, most = np.count_nonzero(matrix), (1 - MIN_EMPTY) * matrix.size
    for block in bcsr.STRUCTURES:
        if not bcsr.fits(matrix, groups, block):
            break
        blocks = bcsr.collect(matrix, 8, block)
        if nnz < MIN_ORDERED * blocks.values.size:
            order = bcsr.find_order(matrix, groups, block)
            if order is not None:
                moved = bcsr.collect(matrix, 8, block, order, groups)
                blocks = min(blocks, moved, key=lambda b: b.values.size)
        size = blocks.values.size
        if nnz < MIN_FULL * size or size > most:
            break  # larger blocks are no fuller
        for values in (
            *kinds,
            *(["codebook"] if few and codebook.distinct(blocks.values) is not None else []),
        ):
            encode = partial(bcsr.encode, matrix, groups, blocks, cast(Values, values))
            ways.append(_Way(f"{bcsr.STRUCTURES[block]}+{values}", size, partial(encode, False)))
            ways.append(_Way(f"{bcsr.STRUCTURES[block]}+{values}+huffman", size, partial(encode, True)))
    return ways


def estimate_ns(kind: str, entries: int, weight: Weight) -> float:
    """Time of the layer on one thread by the cost table."""
    entry_ns, besides = costs().of(kind, weight)
    return entries * entry_ns + besides


def break_even(weight: Weight) -> float:
    """The fraction of zeros from which on CSR is estimated to be as fast as the dense f32 layout, 0..1."""
    matrix = np.asarray(weight.matrix, np.float32)
    dense = estimate_ns("panels+f32", panels.entries(matrix, weight.groups), weight)
    entry_ns, besides = costs().of("csr+f32", weight)
    nnz = (dense - besides) / max(entry_ns, 1e-12)
    return float(np.clip(1 - nnz / matrix.size, 0, 1))
