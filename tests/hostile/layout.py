"""Header, section table, and where sections and streams lie."""

import struct

from hostile.bases import dense
from hostile.cases import case, raw
from pyrt_edit import SECTIONS, Entry, seal, section


def add() -> None:
    good = dense().build()
    table = {name: section(good, name) for name in SECTIONS}
    offset = {name: struct.unpack_from("<Q", good, at + 8)[0] for name, at in table.items()}
    streams = offset["STREAMS"]
    first = struct.unpack_from("<Q", good, streams)[0]
    case("empty", b"", "header: .* at least 64 bytes.* has 0")
    case("header_only", good[:64], "header: declares .*truncated")
    case("half", good[: len(good) // 2], "header: declares .*truncated")
    case("tail_added", seal(good + bytes(64)), "header: declares")
    raw("wrong_magic", "header: not a .pyrt file", 0, "B", 0x88)
    raw("major_2", r"header: format version 2\.2.*update", 8, "H", 2)
    raw("minor_3", r"header: format version 1\.3.*update", 10, "H", 3)
    raw("header_reserved", "header: reserved bytes are not zero", 40, "B", 1)
    raw("eight_sections", "header: 8 sections, expected 7", 24, "I", 8)
    raw("sections_swapped", "section SYMBOLS: missing or out of order", table["SYMBOLS"], "I", 3)
    raw("section_unknown", "section STREAMS: missing or out of order", table["STREAMS"], "I", 8)
    raw("section_reserved", "section WORDS: reserved bytes", table["WORDS"] + 28, "I", 1)
    raw("section_overlap", "section WORDS: does not start", table["WORDS"] + 8, "Q", offset["WORDS"] - 64)
    raw("section_hole", "section OPS: does not start", table["OPS"] + 8, "Q", offset["OPS"] + 64)
    raw("section_unaligned", "section OPS: does not start", table["OPS"] + 8, "Q", offset["OPS"] + 1)
    raw("section_offset_wraps", "section OPS: does not start", table["OPS"] + 8, "Q", 2**64 - 64)
    raw(
        "section_padding", "section SYMBOLS: the padding before it is not zero", offset["SYMBOLS"] - 1, "B", 7
    )
    raw(
        "section_past_end",
        "section STREAMS: reaches past the end",
        table["STREAMS"] + 16,
        "QI",
        32 * 2**20,
        2**20,
    )
    raw("section_size_wraps", "section WORDS: reaches past the end", table["WORDS"] + 16, "Q", 2**64 - 64)
    raw(
        "section_count_huge",
        "section OPS: 32 bytes do not hold 4294967295",
        table["OPS"] + 24,
        "I",
        2**32 - 1,
    )
    raw("section_count_zero", "section TENSORS: 48 bytes do not hold 0", table["TENSORS"] + 24, "I", 0)
    raw("stream_overlap", "section STREAMS: entry 1: does not start", streams + 32, "Q", first)
    raw("stream_hole", "section STREAMS: entry 1: does not start", streams + 32, "Q", first + 128)
    raw("stream_offset_wraps", "section STREAMS: entry 0: does not start", streams, "Q", 2**64 - 64)
    raw("stream_size_wraps", "section STREAMS: entry 0: reaches past the end", streams + 8, "Q", 2**64 - 1)
    raw("stream_reserved", "section STREAMS: entry 0: reserved", streams + 28, "I", 1)
    raw("stream_padding", "section STREAMS: entry 1: the padding before it", first + 40, "B", 1)
    file = dense()
    damaged = bytearray(file.build())
    damaged[file.streams[1].offset] ^= 1
    case("stream_crc", bytes(damaged), r"STREAMS: entry 1 \(tensor fc.weight\): CRC mismatch")
    file.streams.append(Entry(**{**vars(file.streams[1]), "data": bytearray(8)}))
    case("stream_of_no_tensor", file.build(), "section STREAMS: a stream belongs to no tensor")
    file = dense()
    file.tensors[0].first_stream = 1
    case("stream_of_another", file.build(), r"TENSORS: entry 0 \(fc.weight\): its streams do not follow")
    longer = bytearray(good + b"\1")
    struct.pack_into("<Q", longer, 16, len(longer))
    case("bytes_after_the_last", seal(longer), "1 bytes after its last stream")
