// The kernel families: their arguments, and the table of functions chosen for this processor.
//
// Kernels know neither files nor graphs. Activations are rows of columns (docs/architecture.md): a kernel is given a
// pointer to column 0, may read up to 16 columns past the last one and, in families that say so, write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/activation.h"
#include "base/cpu.h"
#include "base/huffman.h"

namespace pyrt {

constexpr int kPanel = 16;       // rows of a weight panel
constexpr int kFewColumns = 8;   // up to here a product uses the `few` form of its family
constexpr int kDotColumns = 12;  // and up to here a product codebook codeword_dot

// What happens to a sum on its way to memory: y = mask(act(scale*sum + bias + residual)).
struct Epilogue {
  const float* scale = nullptr;     // one per row, or null
  const float* bias = nullptr;      // one per row, or null
  const float* residual = nullptr;  // laid out as y, or null
  const uint8_t* mask = nullptr;    // a bit per column, 0 = store zero (the gaps of a padded plane); null = all ones
  Activation act;
};

// Y[rows][cols] (+)= W[rows][k] X[k][cols], for one panel of a dense weight.
struct GemmArgs {
  const void* w;       // [k][16], one panel: f32, or f16 in the gemm_f16 families
  const int32_t* off;  // [k] where row i of X starts, in floats from x
  int k;
  const float* x;
  float* y;
  ptrdiff_t y_stride;  // floats between rows of y
  int rows;            // 1..16
  int cols;            // gemm: y may be written up to the next multiple of 16 columns; few: 1..8, exactly
  bool first;          // this K block starts the sum (else it continues what y holds)
  bool last;           // this K block ends it: apply the epilogue
  Epilogue epilogue;
};
using GemmFn = void (*)(const GemmArgs&);

// The same with integers that share scales, for 1..8 columns: whole sums. Column k of q8 is 16 s8; of q4, columns 8i ..
// 8i+7 are 16 words of 32 bits, whose fields are the integers + 8.
struct ScaledArgs {
  GemmArgs product;    // x: [cols][k], of q4 divided by 16^(column % 4); k a multiple of 4, or 8; off is not used
  const void* scales;  // [groups][16] f32, or f16
  bool halves;
  int group;          // columns that share a scale, a multiple of 32
  const float* sums;  // of q4 [cols][groups]: 8 times the sum of the group's x
  int groups;
};
using ScaledFn = void (*)(const ScaledArgs&);

// Columns of such a panel as f32, each rounded once: out[n][16].
struct WidenScaledArgs {
  const uint8_t* w;  // the first of the columns
  const void* scales;
  bool halves;
  int group;
  int64_t first;  // number of the first column, a multiple of 4, or 8; and so is n
  int n;
  float* out;
};
using WidenScaledFn = void (*)(const WidenScaledArgs&);

// Y[rows][cols] = W X for 1..8 columns and weights of one or two bits. A panel is [k/32][planes][16] words, whose bit j
// is column 32i + j. Of one plane (gemm_binary) a weight is its row's scale, or minus it where the bit is clear; of two
// (gemm_ternary) the scale of the plane that has its bit, or 0.
struct TernaryArgs {
  GemmArgs product;  // w: panels of all rows, which may be more than 16. x: [cols][k], k a multiple of 32. Whole sums
  const float* scales;  // [panels][planes][16]
  float* tables;        // room for [cols][4 * k]
};
using TernaryFn = void (*)(const TernaryArgs&);

// Columns of such a panel as f32: out[n][16].
struct WidenTernaryArgs {
  const uint32_t* w;    // of the first column
  const float* scales;  // [planes][16]
  int n;                // a multiple of 32
  float* out;
};
using WidenTernaryFn = void (*)(const WidenTernaryArgs&);

// Y[rows][cols] (+)= W X for a block of columns of a sparse weight whose entries have been decoded to (offset, value)
// pairs: row r has those from begin[r] up to end[r]. In the bcsr family an entry has `block` values, and stands for as
// many rows, block*r and on; `rows` counts these blocks. Row i of y is then order[i], if there is an order.
//
// In the csr_lines family the columns are lines of 16 or of 8: column line * l + c is read from
// x + 16 * l + c, and goes to y + l * y_line + c if it is one of the first line_cols of its line; its residual lies
// there as well. No mask, and no activation but a clamp.
struct CsrArgs {
  const int32_t* off;  // where the entry's row of X starts, in floats from x
  const float* val;
  const uint32_t* begin;  // [rows]
  const uint32_t* end;    // [rows]
  int rows;
  const float* x;
  float* y;
  ptrdiff_t y_stride;
  int cols;    // y may be written up to the next multiple of 16 columns
  bool first;  // as in GemmArgs
  bool last;
  Epilogue epilogue;
  int block = 1;  // bcsr: 4, 8 or 16
  const uint32_t* order = nullptr;
  int line = 16;  // csr_lines
  ptrdiff_t y_line = 0;
  int line_cols = 16;
};
using CsrFn = void (*)(const CsrArgs&);

// The same for 1..8 columns, exactly, and whole rows (or blocks), one behind the other.
struct CsrFewArgs {
  const int32_t* off;      // [nnz]
  const float* val;        // [nnz]
  const uint32_t* counts;  // [rows] entries per row
  int rows;
  const float* x;
  float* y;
  ptrdiff_t y_stride;
  int cols;
  Epilogue epilogue;
  int block = 1;
  const uint32_t* order = nullptr;
};
using CsrFewFn = void (*)(const CsrFewArgs&);

// Where the rows of a sparse weight pass a column: at[r] = the first entry of begin[r] .. end[r] - 1 whose offset is
// not below `bound`, or end[r]. No entry behind that one has an offset below it.
struct SplitRowsArgs {
  const int32_t* off;
  const uint32_t* begin;
  const uint32_t* end;
  int rows;
  int32_t bound;
  uint32_t* at;
};
using SplitRowsFn = void (*)(const SplitRowsArgs&);

// Rows of columns, side by side: out[i * stride + c] = x[off[i] + c], i < k, c < cols rounded up to a multiple of 16.
struct PackRowsArgs {
  const float* x;
  const int32_t* off;
  int k;
  int cols;
  float* out;  // on a cache line
  ptrdiff_t stride;
};
using PackRowsFn = void (*)(const PackRowsArgs&);

// y[rows] = W x for some rows (or blocks) of a sparse weight and a single contiguous column, straight from the column
// deltas.
struct CsrDotArgs {
  const uint8_t* deltas;   // [nnz], may be read 8 bytes past the end
  const float* val;        // [nnz]
  const uint32_t* counts;  // [rows]
  int rows;
  const float* x;
  float* y;
  ptrdiff_t y_stride;
  Epilogue epilogue;
  int block = 1;                    // rows that share their columns; more than one: rows, counts and nnz are of blocks,
  const uint32_t* order = nullptr;  // val is [nnz][block], and row r of y is order[r], if there is one
};
using CsrDotFn = void (*)(const CsrDotArgs&);

// The same for 9..kDeltaColumns columns of X, whose rows are x_stride floats apart, on cache lines.
constexpr int kDeltaColumns = 32;
struct CsrDeltasArgs {
  const uint8_t* deltas;   // [nnz]
  const float* val;        // [nnz]
  const uint32_t* counts;  // [rows]
  int rows;
  const float* x;
  ptrdiff_t x_stride;
  float* y;
  ptrdiff_t y_stride;
  int cols;  // y may be written up to the next multiple of 16 columns
  Epilogue epilogue;
};
using CsrDeltasFn = void (*)(const CsrDeltasArgs&);

// y[rows][cols] = W x for a panel of 16 rows of which two of every four columns are stored, and 1..8 columns. x is
// [cols][4 * fours], each column contiguous.
struct PairsArgs {
  const float* val;        // [fours][2][16]
  const uint32_t* places;  // [fours][2]: the place of row r's value among the four columns, 0..3, in bits 2r and 2r + 1
  int fours;
  const float* x;
  ptrdiff_t x_stride;
  float* y;
  ptrdiff_t y_stride;
  int rows;  // 1..16
  int cols;
  Epilogue epilogue;
};
using PairsFn = void (*)(const PairsArgs&);

// The same panel as CSR: off and out are [rows][2 * fours]; offsets as in ExpandColsArgs.
struct ExpandPairsArgs {
  const float* val;
  const uint32_t* places;
  int fours;
  int rows;
  const int32_t* table;
  int32_t stride;
  int32_t* off;
  float* out;
};
using ExpandPairsFn = void (*)(const ExpandPairsArgs&);

// y[r][i] = x[r][i * step], i < n; zero for n <= i < y_cols. Reads and writes nothing else.
struct CopyRowsArgs {
  const float* x;
  ptrdiff_t x_pitch;
  int step;
  int n;
  float* y;
  ptrdiff_t y_pitch;
  int rows;
  int y_cols;
};
using CopyRowsFn = void (*)(const CopyRowsArgs&);

// One plane of a depthwise convolution: y[r][c] = sum_t w[t] x[r * row_step + tap_row[t]][c * col_step + tap_col[t]],
// where columns outside [0, width) are zero. Exactly y_rows x y_cols are written.
struct DepthwiseArgs {
  const float* w;          // [taps]
  const int32_t* tap_row;  // [taps]
  const int32_t* tap_col;  // [taps]
  int taps;
  int square;  // K: the taps are those of a KxK square, row by row and without gaps; else 0
  const float* const* x_rows;
  int width;  // of a row of x
  int row_step, col_step;
  float* y;
  ptrdiff_t y_pitch;
  int y_rows, y_cols;
  Epilogue epilogue;  // the residual is laid out as y; the mask is not used
};
using DepthwiseFn = void (*)(const DepthwiseArgs&);

// A strip of up to four tiles of a Winograd convolution, side by side: 16 columns of output, 4 rows. Four strips are a
// group, whose 16 tiles are 16 columns of the products: tile t of strip q is column 4t + q.
constexpr int kWinogradStrip = 16;
struct WinogradStrip {
  int32_t x;         // its first pixel of input, in floats from column 0 of a plane
  int32_t y;         // its first pixel of output
  int16_t in_rows;   // rows of input to read (0..6); what lies outside counts as zero
  int16_t in_cols;   // columns of input to read (0..18)
  int16_t out_rows;  // rows of output to write (0..4)
  int16_t out_cols;  // columns of output to write (0..16)
  int32_t gap;       // columns to zero behind them: the gap of a padded plane
};

// One channel of an image, transformed: u[f][16 per group] for the 36 elements f of a tile.
struct WinogradInputArgs {
  const float* x;  // column 0
  ptrdiff_t pitch;
  const WinogradStrip* strips;  // [groups][4]
  int groups;
  float* u;
  ptrdiff_t u_stride;  // floats between elements
};
using WinogradInputFn = void (*)(const WinogradInputArgs&);

// Weights of one panel, transformed: u[f][channels][16] from w[channels][3][3][16].
struct WinogradWeightsArgs {
  const float* w;
  int channels;
  float* u;
  ptrdiff_t u_stride;  // floats between elements
};
using WinogradWeightsFn = void (*)(const WinogradWeightsArgs&);

// Products back to rows of pixels, from m[f][rows][16 per group]; the epilogue's mask is not used.
struct WinogradOutputArgs {
  const float* m;
  ptrdiff_t m_stride;  // floats between elements
  ptrdiff_t m_row;     // floats between rows
  int rows;
  const WinogradStrip* strips;  // [groups][4]
  int groups;
  float* y;  // column 0 of the first row
  ptrdiff_t y_stride;
  ptrdiff_t pitch;
  Epilogue epilogue;
};
using WinogradOutputFn = void (*)(const WinogradOutputArgs&);

// y = act(x*scale + shift) over one row of columns; y may be x. Writes exactly `cols`.
struct AffineArgs {
  const float* x;
  float* y;
  int64_t cols;
  float scale;
  float shift;
  Activation act;
  const uint8_t* mask;
};
using AffineFn = void (*)(const AffineArgs&);

enum class BinaryOp : uint32_t { kAdd = 0, kSub, kMul, kDiv };

// y = act(a fn b) over one row of columns; b_step 0 repeats b[0]. y may be a or b. Writes exactly `cols`.
struct BinaryArgs {
  const float* a;
  const float* b;
  float* y;
  int64_t cols;
  int a_step;  // 0 or 1
  int b_step;
  BinaryOp fn;
  Activation act;
  const uint8_t* mask;
};
using BinaryFn = void (*)(const BinaryArgs&);

// y[i] = max over `rows` pointers of rows[r][i] (or their sum), i < n.
struct ReduceRowsArgs {
  const float* const* rows;
  int row_count;
  float* y;
  int n;
  bool max;
};
using ReduceRowsFn = void (*)(const ReduceRowsArgs&);

// One plane of a pooling: y[r][c] = the max (or sum) over i < kh, j < kw of
// x[r * row_step + i * row_dilation][c * col_step + j * col_dilation + first_col], without the columns outside
// [0, width). Exactly y_rows x y_cols are written.
struct PoolArgs {
  const float* const* x_rows;  // those outside the image are a row of -inf (or 0)
  int width;
  int kh, kw;
  int row_step, col_step;
  int row_dilation, col_dilation;
  int first_col;
  float* y;
  ptrdiff_t y_pitch;
  int y_rows, y_cols;
  bool max;
};
using PoolFn = void (*)(const PoolArgs&);

// y[c][r] = x[r][c]. Reads and writes nothing else.
struct TransposeArgs {
  const float* x;
  ptrdiff_t x_pitch;
  int64_t rows, cols;  // of x
  float* y;
  ptrdiff_t y_pitch;
};
using TransposeFn = void (*)(const TransposeArgs&);

// One step of a recurrent layer. x and z are what input and state give each gate, gate g at g * gate; c and h are read
// and written.
//   lstm (gates i, f, g, o): c = sigmoid(f)*c + sigmoid(i)*tanh(g), h = sigmoid(o)*tanh(c), each of x + z
//   gru (gates r, u, n): h = (1 - u)*n + u*h, u = sigmoid(x_u + z_u), n = tanh(x_n + sigmoid(x_r + z_r)*z_n); no c
struct CellArgs {
  const float* x;
  const float* z;
  ptrdiff_t gate;  // floats between gates
  float* c;        // [n]
  float* h;        // [n]
  int64_t n;
};
using CellFn = void (*)(const CellArgs&);

// Every column normalized: y[c] = (x[c] - mean)/sqrt(variance + eps)*gain[c] + shift[c] over the channels c; of rms the
// mean is 0. y may be x. Reads and writes nothing else.
struct NormArgs {
  const float* x;
  ptrdiff_t x_stride;  // floats between channels
  float* y;
  ptrdiff_t y_stride;
  int64_t channels;
  int64_t cols;
  const float* gain;   // [channels]
  const float* shift;  // [channels]
  float eps;
  bool rms;
};
using NormFn = void (*)(const NormArgs&);

// A block of rows of the softmax of columns: x becomes exp(x + bias - max), where max and sum run over all blocks so
// far, and factor is what the blocks before this one must be multiplied by. A column of -inf only gives 0.
struct SoftmaxArgs {
  float* x;
  ptrdiff_t stride;
  int rows;
  int cols;           // a multiple of 16
  const float* bias;  // one per row, or null
  float* max;         // [cols]
  float* sum;         // [cols]
  float* factor;      // [cols]
  bool first;         // no block before it: max and sum start here
};
using SoftmaxFn = void (*)(const SoftmaxArgs&);

// *y = the sum of rows of columns. Reads nothing else.
struct SumArgs {
  const float* x;
  ptrdiff_t pitch;  // floats between rows
  int64_t rows;
  int64_t cols;
  float* y;
};
using SumFn = void (*)(const SumArgs&);

// Column deltas of consecutive rows -> offsets: off[i] = table[col_i], or col_i * stride without a table; col is
// counted anew in every row. taps: table[k] = table[k % taps] + k / taps * stride, taps <= K < 2^21; 0 is any
// table.
struct ExpandColsArgs {
  const void* deltas;      // u8 or u16, by function
  const uint32_t* counts;  // [rows]
  int rows;
  const int32_t* table;  // [K], or null
  int taps;
  int32_t stride;
  int32_t* off;  // [sum of counts]
};
using ExpandColsFn = void (*)(const ExpandColsArgs&);

// Codebook indices -> values: out[i] = book[index_i], i < n. Huffman-decoded indices have bits = 8.
struct ExpandIndexArgs {
  const uint8_t* packed;  // may be read 8 bytes past the last index
  uint64_t first;         // number of the first index, counted from `packed`
  int bits;               // 1..8
  int64_t n;
  const float* book;
  int book_size;  // 1..256; every index is below it
  float* out;
};
using ExpandIndexFn = void (*)(const ExpandIndexArgs&);

// The same for books of s8; `packed` may be `out` if the indices have 8 bits.
struct ExpandIndexS8Args {
  const uint8_t* packed;
  uint64_t first;
  int bits;
  int64_t n;
  const int8_t* book;
  int book_size;
  int8_t* out;
};
using ExpandIndexS8Fn = void (*)(const ExpandIndexS8Args&);

// Up to 16 rows of a sparse s8 weight.
struct CsrS8 {
  const void* deltas;  // of columns: u8, or u16 if delta_bits is 16
  int delta_bits;
  const uint32_t* counts;  // [rows]
  int rows;
  const int8_t* values;
};

// They as the dense panel out[k/4][16][4], zeros where there is no entry.
struct ExpandCsrS8Args {
  CsrS8 w;
  int64_t k;
  int8_t* out;
};
using ExpandCsrS8Fn = void (*)(const ExpandCsrS8Args&);

// Indices of a product codebook -> the weights of a panel: out[j*d + i][r] = book[index[j][r]*d + i], j < n, i < d,
// r < 16.
struct ExpandCodewordsArgs {
  const uint8_t* index;  // [n][16]
  int64_t n;
  int d;              // weights of a codeword
  const float* book;  // [codewords][d]
  float* out;         // [n*d][16]
};
using ExpandCodewordsFn = void (*)(const ExpandCodewordsArgs&);

// Y[rows][cols] (+)= W X for one panel of a product codebook, without its weights in between.
struct GemmCodewordsArgs {
  GemmArgs product;      // of gemm_f32, but for w; k a multiple of d
  const uint8_t* index;  // [k/d][16]
  int d;
  const float* book;  // [codewords][d]
};
using GemmCodewordsFn = void (*)(const GemmCodewordsArgs&);

// The same for few columns, each of them contiguous. Whole sums.
struct CodewordDotArgs {
  const uint8_t* index;  // [n][16]
  int64_t n;
  int d;  // a multiple of 4
  const float* book;
  const float* x;  // [cols][n*d]
  float* y;
  ptrdiff_t y_stride;
  int rows;  // 1..16
  int cols;  // 1..kDotColumns, exactly
  Epilogue epilogue;
};
using CodewordDotFn = void (*)(const CodewordDotArgs&);

// Packed indices -> bytes: out[i] = index_(first + i), i < n.
struct UnpackIndexArgs {
  const uint8_t* packed;  // may be read 8 bytes past the last index
  uint64_t first;         // number of the first index, counted from `packed`
  int bits;               // 1..8
  int64_t n;
  uint8_t* out;
};
using UnpackIndexFn = void (*)(const UnpackIndexArgs&);

// out[i] = f32(in[i]) * scale, i < n.
struct WidenS8Args {
  const int8_t* in;
  int64_t n;
  float scale;
  float* out;
};
using WidenS8Fn = void (*)(const WidenS8Args&);

// f16 -> f32, exact: out[i] = in[i], i < n.
struct WidenArgs {
  const uint16_t* in;
  int64_t n;
  float* out;
};
using WidenFn = void (*)(const WidenArgs&);

// Decodes one valid chunk (four bit strings behind their sizes) to n symbols.
struct HuffmanArgs {
  HuffmanTable table;
  const uint8_t* chunk;  // may be read 8 bytes past its end
  size_t size;           // bytes
  size_t n;
  uint8_t* out;
};
using HuffmanFn = void (*)(const HuffmanArgs&);

// What happens to an int32 sum on its way to memory (docs/format.md, section 4), for y of u8:
// p = fma(f32(shift + sum), scale, bias), y = clamp(rne(fma(f32(residual - residual_zero), residual_scale, p)) + zero,
// low, high).
struct QuantEpilogue {
  const int32_t* shift;               // one per row
  const float* scale;                 // one per row
  const float* bias;                  // one per row, in steps of y
  const uint8_t* residual = nullptr;  // laid out as y, or null
  float residual_scale = 0.0f;
  int residual_zero = 0;
  const float* columns =
      nullptr;  // to f32 only: one more factor per column, p = fma(f32(shift + sum)*scale, column, bias)
  int zero = 0, low = 0, high = 255;
  const uint8_t* mask = nullptr;  // a bit per column, 0 = store `zero`; null = all ones
};

// What AVX2, which has no exact u8 x s8 product, has to know of the weights of a panel, a step of two groups of four to
// a bit, four rows to a word: whether the two, and whether the four products of every 16-bit lane (two neighbours of a
// group, times any u8) sum to 16 bits. Bits past the last step are set.
struct Fit {
  static constexpr int steps = 64;
  uint64_t one[4], two[4];
};

// Y[rows][cols] = W[rows][4k] X[4k][cols] for one panel of s8 weights and u8 activations, four channels to a column.
struct QGemmArgs {
  const void* w;       // [k][16][4] s8, or of qgemm_u8s4: [ceil(k/2)][16][4] bytes, group 2i low, 2i + 1 high, + 8
  const int32_t* off;  // [k] where group i of X starts, in columns (4 bytes) from x
  int k;
  const Fit* fits;  // [ceil(k/128)], or null: all bits are set
  const uint8_t* x;
  void* y;  // u8: [ceil(rows/4)] groups of columns of 4; f32: [rows], p of the epilogue, gaps zero
  bool to_f32;
  ptrdiff_t y_stride;  // columns between groups (u8) or rows (f32)
  int rows;            // 1..16; of u8 the last group's channels past it are written too
  int cols;            // as in GemmArgs
  QuantEpilogue epilogue;
};
using QGemmFn = void (*)(const QGemmArgs&);

// Y[rows][cols] = W[rows][k] X[k][cols] entry by entry, for few columns.
struct QCsrDotArgs {
  CsrS8 w;
  const uint16_t* x;   // [cols][k], each 0..255; one more may be read
  ptrdiff_t x_stride;  // words between columns
  void* y;             // as in QGemmArgs
  bool to_f32;
  ptrdiff_t y_stride;
  int cols;
  QuantEpilogue epilogue;
};
using QCsrDotFn = void (*)(const QCsrDotArgs&);

// s4 weights of a panel -> s8: out [2*pairs][16][4].
struct UnpackArgs {
  const uint8_t* in;  // [pairs][16][4], group 2i in the low nibbles, 2i + 1 in the high ones, + 8
  int64_t pairs;
  int8_t* out;
};
using UnpackFn = void (*)(const UnpackArgs&);

// Four channels of a depthwise convolution.
struct QDepthwiseArgs {
  const int8_t* w;     // [ceil(taps/4)][4 channels][4 taps], 0 past the last tap
  const int32_t* off;  // [taps rounded up to 4] in columns; those past the last tap are any valid ones
  int taps;
  bool fits;     // two neighbours of a lane, times any u8, sum to 16 bits
  int channels;  // 1..4
  const uint8_t* x;
  uint8_t* y;
  int cols;  // may be written up to the next multiple of 16 when `cols` > 8
  QuantEpilogue epilogue;
};
using QDepthwiseFn = void (*)(const QDepthwiseArgs&);

// y = clamp(rne(x*inverse[c]) + zero, low, high): up to four rows of f32 to one row of columns of 4. A NaN gives low.
struct QuantizeArgs {
  const float* x;
  ptrdiff_t x_stride;  // floats between channels
  int channels;        // 1..4
  uint8_t* y;
  int64_t cols;  // writes exactly these
  const float* inverse;
  int inverse_step;  // 0: one for all columns, 1: one each
  int zero, low, high;
  const uint8_t* mask;
};
using QuantizeFn = void (*)(const QuantizeArgs&);

// y = f32(x - zero)*scale.
struct DequantizeArgs {
  const uint8_t* x;
  float* y;
  ptrdiff_t y_stride;
  int channels;
  int64_t cols;  // writes exactly these
  float scale;
  int zero;
  const uint8_t* mask;
};
using DequantizeFn = void (*)(const DequantizeArgs&);

// y = clamp(rne(fma(f32(b - b_zero), b_scale, f32(a - a_zero)*a_scale)) + zero, low, high) over columns of 4; y may be
// a or b. Writes exactly `cols`.
struct QAddArgs {
  const uint8_t *a, *b;
  uint8_t* y;
  int64_t cols;
  int a_zero, b_zero;
  float a_scale, b_scale;
  int zero, low, high;
  const uint8_t* mask;
};
using QAddFn = void (*)(const QAddArgs&);

// y[i] = max over `rows` pointers of rows[r][i], i < n bytes.
struct MaxBytesArgs {
  const uint8_t* const* rows;
  int row_count;
  uint8_t* y;
  int64_t n;
};
using MaxBytesFn = void (*)(const MaxBytesArgs&);

// Products of bits. A bit is +1 (set) or -1. A column of bits is a u32 with 32 channels; a panel of weights has 32
// rows, [k][4][32] bytes of 8 channels. S = zone[row] - 2 * (the number of bits that differ), in 16 bits.
constexpr int kBitPanel = 32;     // rows of a panel of bits
constexpr int kBitChannels = 32;  // channels of a column

// What a convolution's padding adds to S differs by where a column lies: it has a zone.
struct BinaryEpilogue {
  const int16_t* shift;     // [zones][shift_stride], one per row of the panels
  ptrdiff_t shift_stride;   // rows
  const uint16_t* zone;     // one per column, or null: all are of zone 0
  const int16_t* at_least;  // y bits: one per row of the panels, the bit is S >= at_least
  float low;                // y f32: max(S, low) goes into `rest`, exact
  Epilogue rest;            // y f32; y bits: the mask
};

// Y[rows][cols] = W X for up to two panels.
struct BGemmArgs {
  const uint8_t* w;
  ptrdiff_t panel_bytes;  // between panels
  const int32_t* off;     // [k] where 32 channels of X start, in columns from x
  int k;
  const uint32_t* x;
  void* y;  // bits: u32 [ceil(rows/32)], f32: [rows]
  bool to_bits;
  ptrdiff_t y_stride;  // columns
  int rows;            // 1..64
  int cols;            // writes exactly these
  BinaryEpilogue epilogue;
};
using BGemmFn = void (*)(const BGemmArgs&);

// Bit r of y[c] = x[r][c] >= at_least[r], r < rows <= 32; the others are 0, and all where the mask is 0.
struct BinarizeArgs {
  const float* x;
  ptrdiff_t x_stride;
  int rows;
  const float* at_least;
  uint32_t* y;
  int64_t cols;  // writes exactly these
  const uint8_t* mask;
};
using BinarizeFn = void (*)(const BinarizeArgs&);

// Everything a model runs on, one function per family.
struct Kernels {
  Isa isa;
#define PYRT_FAMILY(family, type) \
  type family;                    \
  const char* family##_name;
#include "kernels/families.def"
#undef PYRT_FAMILY
};

// The kernels of an ISA; families it lacks fall back to the next simpler one. Null when this processor cannot run it.
const Kernels* kernels_for(Isa isa);
// The fastest usable set, or the one that PYRUNTIME_ISA forces; null and *message when that one cannot run.
const Kernels* select_kernels(std::string* message);

// Every kernel built into this binary, for tests and benches.
struct KernelEntry {
  const char* family;
  const char* name;  // <family>_<tile>__<isa>
  Isa isa;
  void (*fn)();  // cast to the family's type
};
const KernelEntry* kernel_table(size_t* count);

}  // namespace pyrt
