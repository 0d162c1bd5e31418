"""The Huffman decoder alone next to that of zstandard, on the same symbols.

    python bench/decoders.py [--json FILE]

A million symbols of a geometric distribution, at several entropies, one thread, the least of many runs.
zstandard is held to a window of 1 KB and long matches, so that nearly all it does is decode Huffman-
coded literals; at low entropies it finds some matches none the less. Bits are those of the whole stream,
tables included.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cmake
import ninja
import numpy as np
import torch
import zstandard
from rich.console import Console
from rich.table import Table
from torch import nn

import pyruntime
from converters.tune import write_as

SYMBOLS = 1 << 20
SPREADS = (1.2, 3.0, 6.0, 12.0)  # of the distribution: how slowly it falls
RUNS = 50


def build() -> Path:
    """The program that times the kernel: tests/cpp/decode_speed.cc."""
    tool, folder = Path(cmake.CMAKE_BIN_DIR) / "cmake", ROOT / "build" / "cpp"
    make = f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}"
    configure = [tool, "-S", ROOT / "csrc", "-B", folder, "-G", "Ninja", make, "-DPYRUNTIME_TESTS=ON"]
    for command in (configure, [tool, "--build", folder, "--target", "decode_speed"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "decode_speed"


def ours(program: Path, symbols: np.ndarray, folder: Path) -> tuple[float, float]:
    """Bits per symbol, and million symbols a second."""
    layer = nn.Linear(1024, SYMBOLS // 1024, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(symbols.reshape(-1, 1024).astype(np.float32)))
    path = folder / "layer.pyrt"
    write_as(layer, torch.zeros(1, 1024), "panels+codebook+huffman", path)
    count, nanoseconds = subprocess.check_output([program, path], text=True).split()
    with pyruntime.load(path) as model:
        size = sum(step.bytes for step in model.profile(np.zeros((1, 1024), np.float32)).layers)
    return 8 * size / symbols.size, 1e3 * int(count) / float(nanoseconds)


def zstd(symbols: np.ndarray) -> tuple[float, float]:
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=1, strategy=zstandard.STRATEGY_FAST, min_match=7, window_log=10, hash_log=6
    )
    coded = zstandard.ZstdCompressor(compression_params=parameters).compress(symbols.tobytes())
    decompressor, least = zstandard.ZstdDecompressor(), float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        decompressor.decompress(coded)
        least = min(least, time.perf_counter() - start)
    return 8 * len(coded) / symbols.size, symbols.size / least / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    program, rows = build(), []
    table = Table(title="Huffman decoding, million symbols a second", title_justify="left")
    for title in ("entropy, bits", "pyruntime", "bits", "zstandard", "bits", "ratio"):
        table.add_column(title, justify="right")
    for spread in SPREADS:
        weights = np.exp(-np.arange(64) / spread)
        shares = weights / weights.sum()
        symbols = np.random.default_rng(0).choice(64, SYMBOLS, p=shares).astype(np.uint8)
        entropy = float(-(shares * np.log2(shares)).sum())
        with tempfile.TemporaryDirectory() as folder:
            own_bits, own = ours(program, symbols, Path(folder))
        bits, other = zstd(symbols)
        rows.append({"entropy": entropy, "pyruntime": own, "bits": own_bits, "zstandard": other})
        cells = (entropy, own, own_bits, other, bits, own / other)
        table.add_row(*(f"{cell:.{digits}f}" for cell, digits in zip(cells, (2, 0, 2, 0, 2, 2), strict=True)))
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
