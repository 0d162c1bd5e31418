// A tensor of the file as kernels see it: pointers into the mapping, and the decoding tables of its Huffman codes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/huffman.h"
#include "kernels/kernels.h"

namespace pyrt {

// A Huffman-coded stream: chunk i lies at data + offset[i] .. offset[i + 1].
struct CodedStream {
  HuffmanTable table{};
  const uint32_t* offset = nullptr;
  const uint8_t* data = nullptr;

  void decode(const Kernels& kernels, int64_t chunk, int64_t n, uint8_t* out) const {
    kernels.huffman_u8({table, data + offset[chunk], offset[chunk + 1] - offset[chunk], static_cast<size_t>(n), out});
  }
};

struct Weights {
  enum Structure { kRows = 1, kPanels = 2, kCsr = 3, kBcsr = 4, kBcsr8 = 5, kBcsr16 = 6, kPairs = 7 };

  std::string name;
  std::string encoding;  // "csr8+codebook5+huffman", for people
  Structure structure = kRows;
  int64_t rows = 0, cols = 0, groups = 1;
  int64_t panel_rows = 0;  // rows of a panel
  uint64_t entries = 0, parameters = 0, bytes = 0;

  const float* values = nullptr;     // f32 values, or null
  const uint16_t* halves = nullptr;  // f16 values, or null
  const int8_t* int8s = nullptr;     // s8 values, or null
  const uint8_t* nibbles = nullptr;  // s4 values, or null
  const int32_t* ints = nullptr;     // i32 values, or null
  const int16_t* shorts = nullptr;   // i16 values, or null
  const uint8_t* bits = nullptr;     // signs, or null
  std::vector<Fit> fits;             // s8 panels: [panels][ceil(cols/512)]
  std::vector<uint8_t> row_fits;     // s8 rows: of each four, whether two products fit 16 bits
  const uint8_t* packed = nullptr;   // q8, q4, ternary and binary values, or null
  int packed_bits = 0;               // 8, 4, 2 and 1
  const void* scales = nullptr;      // of these: f32, or of q8 and q4 f16
  bool half_scales = false;
  int64_t scale_columns = 0;    // that share one
  const float* book = nullptr;  // f32 codebook, or null
  int book_size = 0;
  int codeword = 1;                     // weights to an entry of the book; more than one: a product codebook
  const uint16_t* half_book = nullptr;  // its codewords in f16,
  const int8_t* int8_book = nullptr;    // or in s8; or the integers of an s8book
  float book_scale = 0;
  int index_bits = 0;
  const uint8_t* index = nullptr;  // packed indices, or null when Huffman-coded
  CodedStream index_code;

  const uint32_t* panel_start = nullptr;  // csr
  const void* row_counts = nullptr;
  int count_bits = 0;
  const void* deltas = nullptr;  // null when Huffman-coded
  int delta_bits = 0;
  const uint32_t* order = nullptr;   // bcsr: the row of its group that a stored row is, or null: in order
  const uint32_t* places = nullptr;  // pairs
  CodedStream delta_code;

  // Columns of packed values as stored, a multiple of 4 (q8), 8 (q4) or 32; and groups of them with a scale.
  int64_t packed_cols() const {
    const int64_t unit = packed_bits < 4 ? 32 : 32 / packed_bits;
    return (cols + unit - 1) / unit * unit;
  }
  int64_t scale_groups() const { return (cols + scale_columns - 1) / scale_columns; }

  int64_t fits_per_panel() const { return (cols + 8 * Fit::steps - 1) / (8 * Fit::steps); }
  // Sets `fits` or `row_fits` of s8 values (ops/fit.cc).
  void find_fits(const Kernels& kernels);

  // Whether integer products take it.
  bool integers() const { return int8s || nibbles || (int8_book && !product()); }
  // The bytes that these two need (ops/s8_panel.cc); 0 where panels lie in the file as kernels read them.
  size_t s8_scratch() const;
  // A panel of integers as [cols/4][16][4] s8, expanded to `scratch` if need be.
  const int8_t* s8_panel(const Kernels& kernels, int64_t panel, uint8_t* scratch) const;
  // The entries of a panel of sparse integers, decoded if need be; the first 16*cols bytes of `scratch` stay free.
  CsrS8 csr_s8(const Kernels& kernels, int64_t panel, uint32_t (&counts)[kPanel], uint8_t* scratch) const;

  // Entries of a stored row of a sparse weight, of bcsr of a block of rows.
  uint32_t row_count(int64_t row) const {
    if (count_bits == 8) return static_cast<const uint8_t*>(row_counts)[row];
    // The 16- and 32-bit counts follow 4-byte panel starts, so they are aligned.
    if (count_bits == 16) return static_cast<const uint16_t*>(row_counts)[row];
    return static_cast<const uint32_t*>(row_counts)[row];
  }

  // The f32 codewords of a product codebook that is stored in f16 or s8: [book_size][codeword].
  void widen_book(const Kernels& kernels, float* out) const {
    const int64_t n = int64_t{book_size} * codeword;
    if (half_book) kernels.widen_f16({half_book, n, out});
    else kernels.widen_s8({int8_book, n, book_scale, out});
  }
  bool product() const { return codeword > 1; }
  int64_t rows_per_group() const { return rows / groups; }
  bool sparse() const { return structure == kCsr || blocks(); }
  bool blocks() const { return structure == kBcsr || structure == kBcsr8 || structure == kBcsr16; }
  int64_t block() const { return blocks() ? 4 << (structure - kBcsr) : 1; }  // rows that share their columns
  int64_t panels_per_group() const {
    const int64_t n = panel_rows > 0 ? panel_rows : 16;
    return (rows_per_group() + n - 1) / n;
  }
  // First row of a panel, counted over all groups, and its number of rows.
  int64_t panel_row(int64_t panel) const {
    return panel / panels_per_group() * rows_per_group() + panel % panels_per_group() * panel_rows;
  }
  int64_t rows_of(int64_t panel) const {
    return std::min(panel_rows, rows_per_group() - panel % panels_per_group() * panel_rows);
  }
  bool ints_of(int64_t n) const { return structure == kRows && ints && rows == n && cols == 1; }
  bool shorts_of(int64_t n) const { return structure == kRows && shorts && rows == n && cols == 1; }
  bool vector_of(int64_t n) const { return structure == kRows && values && rows == n && cols == 1; }
};

}  // namespace pyrt
