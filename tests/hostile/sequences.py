"""Ops of sequences: recurrent layers, attention, embeddings and their Huffman-coded rows."""

import copy
from collections.abc import Callable

from hostile.cases import edited, op, put, with_csr, with_vectors
from pyrt_edit import NO_ACT, Pyrt, huffman, one_op


def add() -> None:
    recurrent()
    lookups()


def recurrent() -> None:
    def bad(name: str, pattern: str, *attrs: int, size: tuple[int, int] = (12, 3), **more: object) -> None:
        weight = with_csr(*size)
        op(
            f"recurrent_{name}",
            "OPS: recurrent the_op: " + pattern,
            "recurrent",
            (5, 1, 12),
            *attrs,
            **weight,
            **more,
        )

    bad("reverse", "attribute out of range", 0, 2, 0, axis=2)
    bad("axis", "wrong rank or channel axis", 0, 0, 0, axis=1)
    bad("gates", "its weight does not have a row per gate", 1, 0, 0, axis=2)
    bad("cell_of_gru", "a gru has no cell state", 1, 0, 1, axis=2, size=(12, 4))
    bad("state_of_gru", "a gru has no cell state", 1, 0, 0, axis=2, size=(12, 4), inputs=3)
    op(
        "recurrent_initial",
        r"layer the_op: an initial state must be \[1, 1, 3\]",
        "recurrent",
        (5, 1, 12),
        *(0, 0, 0),
        axis=2,
        inputs=2,
        out=(3, 2),
        **with_csr(12, 3),
    )


def lookups() -> None:
    name, out = "OPS: embedding the_op: ", (3, 2)
    op(
        "embedding_attrs",
        name + "wrong number of attributes",
        "embedding",
        (1, 4),
        0,
        out=out,
        **with_vectors(5),
    )
    op("embedding_rank", name + "its output has one more", "embedding", (1, 4), **with_vectors(5))
    op("embedding_csr", name + "needs a table", "embedding", (1, 4), out=out, **with_csr(5, 4))
    op(
        "embedding_scale",
        name + "an s8 table, and no other",
        "embedding",
        (1, 4),
        out=out,
        **with_vectors(5, 5),
    )
    norm, attention = "OPS: norm the_op: ", "OPS: attention the_op: "
    op("norm_vectors", norm + "gain and shift must be", "norm", (1, 4), 0, 1e-5, **with_vectors(4, 3))
    op("norm_eps", norm + "attribute out of range", "norm", (1, 4), 0, -1.0, **with_vectors(4, 4))
    op("norm_channels", "layer the_op: has 5 channels", "norm", (1, 4), 0, 1e-5, **with_vectors(5, 5))
    words = (1.0, 2, 2, 0, 0)
    op("attention_rank", attention + "queries, keys and values have", "attention", (1, 4), *words, inputs=3)
    for i, bad in enumerate((float("inf"), 0, 0, 2, 2)):
        wrong = [*words[:i], bad, *words[i + 1 :]]
        op(
            f"attention_attr_{i}",
            attention + "attribute out",
            "attention",
            (1, 3, 4),
            *wrong,
            inputs=3,
            axis=2,
        )
    op("attention_kv", attention + "attribute out", "attention", (1, 3, 6), 1.0, 2, 3, 0, 0, inputs=3, axis=2)
    op(
        "attention_heads",
        "layer the_op: the channels are not heads",
        "attention",
        (1, 3, 5),
        *words,
        inputs=3,
        axis=2,
    )
    op("attention_mask", attention + "the mask has rank 4", "attention", (1, 3, 4), *words, inputs=4, axis=2)
    op("product_axis", "OPS: product the_op: wrong channel axis", "product", (3, 4), inputs=2)
    op(
        "product_fit",
        "layer the_op: cannot multiply 4 columns by 3 rows",
        "product",
        (3, 4),
        inputs=2,
        axis=0,
    )
    op("where_rank", "OPS: where the_op: inputs of different rank", "where", (3, 4), inputs=3, out=(3, 2))
    op("range_axis", "OPS: range the_op: attribute out", "range", (3, 4), 2, 0, 1, out=(1, 0))
    op("range_rank", "OPS: range the_op: attribute out", "range", (3, 4), 1, 0, 1)
    op("range_start", "OPS: range the_op: attribute out", "range", (3, 4), 1, 2**31 - 1, 1, out=(1, 0))
    op("cumsum_axis", "OPS: cumsum the_op: axis out", "cumsum", (3, 4), 2)
    op("compare_11", "OPS: binary the_op: unknown function", "binary", (3, 4), 11, *NO_ACT, inputs=2)
    file = Pyrt()
    table = file.add_tensor(
        "w", 6, 8, ("BOOK", bytes(8), 32), ("INDEX", huffman([1, 1], [[0, 1] * 16, [1] * 16]), 1)
    )
    file.tensors[table].__dict__.update(structure=1, panel_rows=4, entries=48)
    file.stream("w", "BOOK").count = 2
    file.stream("w", "INDEX").__dict__.update(coding=1, count=2)

    def rows(name: str, pattern: str, edit: Callable[[Pyrt], None]) -> None:
        edited(
            "coded_rows_" + name, r"TENSORS: entry 0 \(w\): " + pattern, edit, lambda: copy.deepcopy(lookup)
        )

    lookup = one_op("embedding", (1, 4), out=out, file=file, tensors=[table])
    rows("raw", "coding not allowed", lambda f: f.stream("w", "INDEX").__dict__.update(coding=0))
    rows("unsaid", "coding not allowed", put("tensors", 0, panel_rows=0))
    rows("grouped", "only ungrouped rows", put("tensors", 0, groups=2))
    rows("longer", "INDEX: Huffman chunk 0 does not decode", put("tensors", 0, panel_rows=5))
    rows("huge", "wrong panel_rows", put("tensors", 0, panel_rows=2**31))
