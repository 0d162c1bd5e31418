// How a sparse product with many columns is cut, so that what it reads of X stays in the L1 cache while many rows of W
// pass over it (docs/decisions/csr-blocks.md).
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/cpu.h"
#include "base/math.h"
#include "ops/line_tiles.h"

namespace pyrt {

constexpr int64_t kDecodedRows = 4096;  // at a time, or a panel

struct CsrBlocks {
  static constexpr int64_t kWidest = 6;  // lines of a tile

  int64_t tile = 16;        // columns of X done at a time
  int64_t k = 0;            // columns of W done at a time
  int64_t count = 1;        // blocks of k columns
  bool packed = false;      // a block of X is copied side by side before use
  int64_t entries = 16384;  // decoded at a time, a panel at least: their offsets and values stay in L2
  int64_t rows = 0;         // of an image, whose lines a tile is; 0: a tile is columns in a row
  int64_t copied = 0;       // floats of a packed block

  // For `entries` in rows x k of a group, times `cols` columns. shifted: rows of X start anywhere, as those of the taps
  // of a convolution do, and a vector load of them takes two cache lines. packs: such loads are the kernel's limit.
  // pass: lines that it does at once.
  static CsrBlocks choose(int64_t rows, int64_t k, int64_t entries, int64_t cols, bool shifted, bool packs,
                          int64_t pass) {
    constexpr int64_t kLine = 64, kColumns = 16;  // bytes of a cache line, floats in it
    constexpr int64_t kNarrowest = 2;             // lines
    // Of a row in a block: fewer are not worth loading and storing its sums, and more not worth a block beyond L1.
    constexpr int64_t kFewest = 16, kEnough = 40;
    constexpr int64_t kMoreEntries = 131072;  // where each time X is copied or read again
    CsrBlocks b;
    // A copied row is read once per row of W that has an entry in its column.
    b.packed = shifted && packs && std::min(entries, kMoreEntries) >= 3 * k;
    if (b.packed) b.entries = kMoreEntries;
    const int64_t l1 = cache_sizes().l1d / kLine, columns = ceil_div(cols, kColumns);
    int64_t lines = (l1 * 9 / 8 + k / 2) / std::max<int64_t>(k, 1);
    if (shifted && !b.packed) lines = 4;  // taps share what they read
    // Long rows fill blocks of few columns, and a wider tile has fewer loads per multiply-add.
    const int64_t per_row = entries / std::max<int64_t>(rows, 1);
    const bool long_rows = per_row >= k / (b.packed ? 6 : 4);
    // So it has where blocks are copied anyway, if the kernel does not go over W once for every two lines.
    if ((long_rows || (b.packed && pass > kNarrowest)) && lines < kNarrowest) lines = 4;
    lines = std::min(std::clamp(lines, kNarrowest, kWidest), columns);
    lines = ceil_div(columns, ceil_div(columns, lines));  // tiles of about the same width
    b.tile = lines * kColumns;
    // To find the blocks in the rows of W takes time, too.
    if (b.packed || (!shifted && ((long_rows && columns > 1) || columns >= 4 * lines))) {
      const int64_t fit = std::max<int64_t>(l1 / lines, 1);
      const int64_t fewest = ceil_div(2 * k, 3 * fit), most = ceil_div(k, fit);
      b.count = std::min(std::clamp(per_row / kEnough, fewest, most), std::max<int64_t>(per_row / kFewest, 1));
    }
    if (b.count > 1) b.entries = kMoreEntries;
    b.k = ceil_div(std::max<int64_t>(k, 1), std::max<int64_t>(b.count, 1));
    b.count = std::max<int64_t>(ceil_div(k, b.k), 1);
    if (b.packed) b.copied = b.k * b.tile;
    return b;
  }

  // Cycles that such a convolution takes for each row of W; as columns in a row, or in tiles of lines. per_row: its
  // entries, of `channels` channels; m: rows of W, which share the copies; out: its output.
  double cost(const LineTiles& tiles, double per_row, int64_t channels, int64_t m, const Node& out) const {
    if (!rows) {
      return per_row * static_cast<double>(ceil_div(out.cols, 16)) +
             static_cast<double>(ceil_div(out.cols, tile)) * row_cost(channels * tiles.taps() * tile / 16, m);
    }
    return static_cast<double>(out.images * tiles.pieces()) *
           (per_row * static_cast<double>(out.height) * tiles.line_cost() +
            static_cast<double>(tiles.bands(rows)) * row_cost(channels * tiles.lines(rows), m));
  }

  // The same in tiles of lines of `n` rows of an image.
  CsrBlocks with_lines(const LineTiles& tiles, int64_t channels, int64_t n) const {
    // Entries and sums need some of L1. Where taps share few lines, smaller blocks would have rows of too few entries.
    const int64_t eighths = tiles.line() == LineTiles::kCopied ? 12 : 7;
    const int64_t most = std::max<int64_t>(cache_sizes().l1d / 64 * eighths / 8 / tiles.lines(n), 1);
    const int64_t held = ceil_div(channels, ceil_div(channels, most));
    CsrBlocks b = *this;
    b.rows = n, b.tile = n * tiles.line(), b.k = held * tiles.taps(), b.count = ceil_div(channels, held);
    b.copied = held * tiles.lines(n) * LineTiles::kCopied;
    return b;
  }

 private:
  // Of a row of W in all blocks of a tile, besides its multiply-adds, and of its part of the copied lines.
  double row_cost(int64_t copies, int64_t m) const {
    constexpr double kBlock = 16, kSum = 0.14, kCopy = 4;
    return (kBlock + kSum * static_cast<double>(tile)) * static_cast<double>(count) +
           kCopy * static_cast<double>(copies) / static_cast<double>(m);
  }
};

}  // namespace pyrt
