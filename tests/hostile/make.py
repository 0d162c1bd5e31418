"""Makes the hostile files of this folder: `python tests/hostile/make.py`.

Every file breaks one rule of docs/format.md, with valid CRCs unless the CRC is the point. CASES has them all;
the folder holds the COMMITTED of them.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent)]

from hostile import binary, integers, layout, ops, sequences, tables, weights  # noqa: E402
from hostile.cases import CASES  # noqa: E402

# What lies in this folder: one file of each kind of attack.
COMMITTED = [
    "header_only",
    "half",
    "wrong_magic",
    "major_2",
    "blocks_entries",
    "blocks_index",
    "minor_3",
    "ternary_both",
    "coded_rows_longer",
    "embedding_csr",
    "value_i64_output",
    "section_overlap",
    "section_hole",
    "section_offset_wraps",
    "section_padding",
    "section_past_end",
    "section_count_huge",
    "stream_overlap",
    "stream_offset_wraps",
    "stream_crc",
    "stream_of_no_tensor",
    "string_not_utf8",
    "string_inside",
    "value_dim_symbol",
    "value_never_produced",
    "op_unknown",
    "op_writes_twice",
    "op_operands_past_words",
    "groups_do_not_divide",
    "rows_x_cols",
    "rows_start_falls",
    "cols_past_end",
    "coded_cols_past_end",
    "index_outside",
    "product_index_outside",
    "product_scale_nan",
    "code_incomplete",
    "code_overfull",
    "chunks_fall",
    "chunk_short",
    "chunk_long",
    "linear_bias",
    "conv_stride_zero",
    "conv_stride_overflow",
    "conv_columns",
    "pool_span_overflow",
    "concat_axis",
    "slice_step_zero",
    "reshape_dim_past_rank",
    "reshape_does_not_fit",
    "permute_repeats",
    "pad_huge",
    "pad_output_huge",
    "interpolate_scale_nan",
    "integer_scale_zero",
    "integer_f32_residual",
    "integer_concat_of_two_scales",
    "integer_row_multiplier",
    "integer_low_over_high",
    "integer_s8_columns",
    "integer_csr_past_end",
    "integer_book_index",
    "scaled_nan",
    "linear_of_s8",
]

for part in (layout, tables, weights, ops, sequences, integers, binary):
    part.add()


def main() -> None:
    for old in FOLDER.glob("*.pyrt"):
        old.unlink()
    for name in COMMITTED:
        (FOLDER / f"{name}.pyrt").write_bytes(CASES[name][0])
    print(f"{len(COMMITTED)} files, {sum(len(CASES[name][0]) for name in COMMITTED):,} bytes")


if __name__ == "__main__":
    main()
