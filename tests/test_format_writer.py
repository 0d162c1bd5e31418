"""Round trips of the writer through the independent reader, over all encodings and their corner cases."""

import heapq
import os
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pyrt_reader
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import ConvertError, format
from converters.encodings import bcsr, codebook, csr, huffman, pairs, panels, rows
from converters.encodings.choose import choose
from converters.encodings.stream import Encoded, Values
from converters.graph import Graph, Matrix, Op, Symbol, Value, Weight


def graph_of(weight: Weight) -> Graph:
    """x -> linear -> y."""
    x = Value(("s0", 4), (2, 4), "x", 1)
    y = Value(("s0", 4), (2, 4), "y", 1)
    op = Op("linear", [x], y, weights=[weight], layout=1, name="layer", source="net.py:1")
    return Graph([Symbol("batch", "s0", 1, 9)], [x], [y], [op])


def serialize(encoded: Encoded) -> bytes:
    weight = Weight("w", np.zeros((1, 1), np.float32), "matrix")
    return bytes(format._serialize(graph_of(weight), {weight: encoded}))


def decode(encoded: Encoded) -> Matrix:
    return pyrt_reader.parse(serialize(encoded)).dense(0)


def all_encodings(matrix: Matrix, groups: int) -> list[Encoded]:
    plain: list[Values] = ["f32", *(["f16"] if codebook.fits_f16(matrix) else [])]
    book: list[Values] = ["codebook"] if codebook.distinct(matrix) is not None else []
    found = [rows.encode(matrix, groups, v) for v in plain + book]
    found += [panels.encode(matrix, groups, v, False) for v in plain + book]
    found += [panels.encode(matrix, groups, v, True) for v in book]
    for bits in (8, 16):
        entries = csr.collect(matrix, bits)
        book = ["codebook"] if codebook.distinct(entries.values) is not None else []
        found += [csr.encode(matrix, groups, entries, v, h) for v in plain + book for h in (False, True)]
        for block in bcsr.STRUCTURES:
            if not bcsr.fits(matrix, groups, block):
                break
            for order in (None, bcsr.find_order(matrix, groups, block)):
                blocks = bcsr.collect(matrix, bits, block, order, groups)
                book = ["codebook"] if codebook.distinct(blocks.values) is not None else []
                found += [
                    bcsr.encode(matrix, groups, blocks, v, h) for v in plain + book for h in (False, True)
                ]
    if pairs.fits(matrix):
        book = ["codebook"] if codebook.distinct(matrix) is not None else []
        found += [pairs.encode(matrix, groups, v) for v in plain + book]
    return found


@st.composite
def matrices(draw: st.DrawFn) -> tuple[Matrix, int]:
    """Sparse or dense, few or many distinct values, some rows empty, one to four groups."""
    groups = draw(st.integers(1, 4))
    shape = groups * draw(st.integers(1, 24)), draw(st.integers(1, 400))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
    distinct = draw(st.sampled_from([1, 2, 5, 16, 255, 256, 10_000]))
    book = random.standard_normal(distinct).astype(np.float32)
    skew = draw(st.sampled_from([1.0, 3.0]))
    matrix = book[(random.random(shape) ** skew * distinct).astype(int)]
    matrix[random.random(shape) >= density] = 0
    matrix[random.random(shape[0]) < draw(st.sampled_from([0.0, 0.5]))] = 0
    return matrix, groups


@settings(max_examples=40, deadline=None)
@given(matrices())
def test_every_encoding_gives_the_matrix_back(case: tuple[Matrix, int]) -> None:
    matrix, groups = case
    for encoded in all_encodings(matrix, groups):
        np.testing.assert_array_equal(decode(encoded), matrix, err_msg=encoded.encoding)


@settings(max_examples=25, deadline=None)
@given(
    matrices(), st.sampled_from(["size", "speed", "auto"]), st.sampled_from(["matrix", "depthwise", "vector"])
)
def test_the_chosen_encoding_gives_the_matrix_back(case: tuple[Matrix, int], prefer: str, role: str) -> None:
    matrix, groups = case
    choice = choose(Weight("w", matrix, role, groups), prefer)
    np.testing.assert_array_equal(decode(choice.encoded), matrix)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(deadline=None)
def test_any_bits_survive(matrix: Matrix) -> None:
    """NaN payloads, infinities and denormals; only -0.0 may become 0.0, where zeros are dropped or shared."""
    for encoded in all_encodings(matrix, 1):
        plain = encoded.structure in ("rows", "panels") and encoded.values != "codebook"
        expected = matrix.view(np.uint32) if plain else codebook.bits_of(matrix)
        assert decode(encoded).tobytes() == expected.tobytes(), encoded.encoding


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("use_huffman", [False, True])
def test_long_gaps_are_bridged_by_fillers(bits: int, use_huffman: bool) -> None:
    reach = 1 << bits
    matrix = np.zeros((3, 3 * reach + 2), np.float32)
    matrix[0, [0, reach, 2 * reach + 1]] = 1, 2, 3  # the longest gap without a filler, the shortest with one
    matrix[2, [reach - 1, -1]] = 4, 5
    entries = csr.collect(matrix, bits)
    assert entries.fillers == 3
    assert entries.row_nnz.tolist() == [4, 0, 4]
    for values in ("f32", "f16", "codebook"):
        encoded = csr.encode(matrix, 1, entries, values, use_huffman)
        np.testing.assert_array_equal(decode(encoded), matrix)


def test_rows_in_blocks_of_four_are_found() -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((512, 100)).astype(np.float32)
    matrix *= np.repeat(random.random((128, 100)) < 0.1, 4, 0)
    choice = choose(Weight("w", matrix, "matrix", columns=64), "speed")
    assert choice.encoded.encoding == "bcsr8+f32"
    assert serialize(choice.encoded)[10] == 1  # minor version
    matrix = random.standard_normal((512, 100)).astype(np.float32) * (random.random((512, 100)) < 0.1)
    choice = choose(Weight("w", matrix, "matrix", columns=64), "speed")
    assert choice.encoded.structure == "csr"
    assert serialize(choice.encoded)[10] == 0


@pytest.mark.parametrize(("block", "structure"), [(8, "b8csr8+f32"), (16, "b16csr8+f32")])
def test_larger_blocks_are_found_in_any_order_of_the_rows(block: int, structure: str) -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((1024, 100)).astype(np.float32)
    matrix *= np.repeat(random.random((1024 // block, 100)) < 0.1, block, 0)
    for moved in (False, True):
        if moved:
            matrix = np.concatenate([random.permutation(half) for half in np.split(matrix, 2)])
        choice = choose(Weight("w", matrix, "matrix", groups=2), "speed")
        assert choice.encoded.encoding == structure
        assert [s.kind for s in choice.encoded.streams].count("ORDER") == moved
        np.testing.assert_array_equal(decode(choice.encoded), matrix)
        assert serialize(choice.encoded)[10] == 2


def test_rows_that_are_nearly_alike_are_brought_together() -> None:
    random = np.random.default_rng(0)
    used = np.repeat(random.random((16, 200)) < 0.1, 4, 0)
    used &= random.random(used.shape) < 0.9
    matrix = random.permutation(random.standard_normal(used.shape).astype(np.float32) * used)
    order = bcsr.find_order(matrix, 1, 4)
    assert order is not None
    assert sorted(order) == list(range(64))
    full = [np.count_nonzero(matrix) / bcsr.collect(matrix, 8, 4, o).values.size for o in (None, order)]
    assert full[0] < 0.4 < 0.8 < full[1]
    scattered = random.standard_normal((64, 200)) * (random.random((64, 200)) < 0.1)
    assert bcsr.find_order(scattered.astype(np.float32), 1, 4) is None


def test_two_of_four_are_found() -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((72, 256)).astype(np.float32)
    kept = random.random((72, 64, 4)).argsort(2) < 2
    matrix *= kept.reshape(72, 256)
    assert choose(Weight("w", matrix, "matrix"), "speed").encoded.encoding == "2:4+f32"
    matrix[7, 252:] = 1
    assert choose(Weight("w", matrix, "matrix"), "speed").encoded.structure != "2:4"


def test_fillers_need_zero_in_the_book() -> None:
    """256 non-zero values and a filler are 257: no codebook with 8-bit deltas, one with 16-bit deltas."""
    matrix = np.zeros((2, 600), np.float32)
    matrix[0, :256] = np.arange(1, 257)
    matrix[1, -1] = 1
    assert codebook.distinct(csr.collect(matrix, 8).values) is None
    encoded = csr.encode(matrix, 1, csr.collect(matrix, 16), "codebook", use_huffman=True)
    np.testing.assert_array_equal(decode(encoded), matrix)


def test_all_zero_matrix() -> None:
    for encoded in all_encodings(np.zeros((20, 30), np.float32), 2):
        assert not decode(encoded).any()


def test_one_symbol_alphabets() -> None:
    """Deltas that are all 0 (dense CSR) take the 1-bit code; a second symbol makes the code complete."""
    matrix = np.full((40, 200), 1.5, np.float32)
    encoded = csr.encode(matrix, 1, csr.collect(matrix, 8), "codebook", use_huffman=True)
    cols = encoded.streams[1]
    assert (cols.coding, cols.count) == ("huffman", 2)
    np.testing.assert_array_equal(decode(encoded), matrix)


def test_chunks_stay_below_their_limit() -> None:
    matrix = np.zeros((2, 200_000), np.float32)
    matrix[0, :70_000] = 1
    encoded = csr.encode(matrix, 1, csr.collect(matrix, 8), "codebook", use_huffman=True)
    assert encoded.panel_rows == 1
    assert all(stream.coding == "raw" for stream in encoded.streams)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=256))
@settings(deadline=None)
def test_code_is_complete_and_optimal(counts: list[int]) -> None:
    histogram = np.array(counts)
    lengths = huffman.code_lengths(histogram)
    used = lengths > 0
    assert lengths.max() <= huffman.MAX_LENGTH
    assert (2.0 ** -lengths[used].astype(float)).sum() == 1
    assert used[histogram > 0].all()
    heap = [(c, 0) for c in counts if c]
    heapq.heapify(heap)
    total = depth = 0
    while len(heap) > 1:
        (a, da), (b, db) = heapq.heappop(heap), heapq.heappop(heap)
        total, depth = total + a + b, 1 + max(da, db)
        heapq.heappush(heap, (a + b, depth))
    if depth <= huffman.MAX_LENGTH and len(heap) and total:
        assert int((lengths.astype(int) * histogram).sum()) == total


def test_code_lengths_are_limited() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(np.array(fibonacci))
    assert lengths.max() == huffman.MAX_LENGTH
    assert (2.0 ** -lengths.astype(float)).sum() == 1


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_indices(bits: int) -> None:
    index = np.random.default_rng(bits).integers(0, 1 << bits, 77).astype(np.uint8)
    packed = codebook.pack(index, bits)
    assert len(packed) == -(-77 * bits // 8) + 8
    number = int.from_bytes(packed, "little")
    assert [number >> i * bits & (1 << bits) - 1 for i in range(77)] == index.tolist()


def test_huffman_is_left_out_where_it_gains_little() -> None:
    flat = np.random.default_rng(0).integers(0, 16, (64, 64)).astype(np.float32)
    assert panels.encode(flat, 1, "codebook", True).encoding == "dense+codebook4"


def test_every_flipped_byte_is_noticed() -> None:
    matrix = np.eye(9, 40, dtype=np.float32)
    data = serialize(csr.encode(matrix, 1, csr.collect(matrix, 8), "codebook", use_huffman=True))
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        with pytest.raises(pyrt_reader.FormatError):
            pyrt_reader.parse(bytes(broken))
    for length in range(len(data)):
        with pytest.raises(pyrt_reader.FormatError):
            pyrt_reader.parse(data[:length])


def test_equal_tensors_and_words_are_stored_once() -> None:
    weight, same = (Weight(name, np.ones((4, 4), np.float32), "matrix") for name in "ab")
    graph = graph_of(weight)
    hidden = graph.ops[0].output
    graph.outputs = [Value(hidden.shape, hidden.example, "z", 1)]
    graph.ops.append(Op("linear", [hidden], graph.outputs[0], weights=[same], layout=1))
    encoded = panels.encode(weight.matrix, 1, "f32", False)
    file = pyrt_reader.parse(bytes(format._serialize(graph, {weight: encoded, same: encoded})))
    assert [op.tensors for op in file.ops] == [[0], [0]]
    assert [t.name for t in file.tensors] == ["a"]


def test_write_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.pyrt"
    path.write_bytes(b"old")
    weight = Weight("w", np.ones((4, 4), np.float32), "matrix")
    tensors = {weight: panels.encode(weight.matrix, 1, "f32", False)}

    def full(_: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(os, "fsync", full)
        format.write(graph_of(weight), tensors, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.pyrt"]
    assert format.write(graph_of(weight), tensors, path) == path.stat().st_size
    assert os.listdir(tmp_path) == ["model.pyrt"]


def test_long_names_are_refused() -> None:
    weight = Weight("w", np.ones((4, 4), np.float32), "matrix")
    graph = graph_of(weight)
    graph.ops[0].name = "x" * 256
    with pytest.raises(ConvertError, match="255 bytes"):
        format._serialize(graph, {weight: rows.encode(weight.matrix, 1, "f32")})
