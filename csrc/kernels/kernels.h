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

constexpr int kPanel = 16;      // rows of a weight panel
constexpr int kFewColumns = 8;  // up to here a product uses the `few` form of its family

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

// Y[rows][cols] (+)= W X for a block of columns of a sparse weight whose entries have been decoded to (offset, value)
// pairs: row r has those from begin[r] up to end[r]. In the bcsr family an entry has four values, and stands for four
// rows 4r .. 4r + 3; `rows` counts these blocks.
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
};
using CsrFewFn = void (*)(const CsrFewArgs&);

// Where the rows of a sparse weight pass a column: at[r] = the first entry of begin[r] .. end[r] - 1 whose offset is
// not below `bound`, or end[r]. Offsets rise within a row.
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

// y[rows] = W x for some rows of a sparse weight and a single contiguous column, straight from the column deltas.
struct CsrDotArgs {
  const uint8_t* deltas;   // [nnz], may be read 8 bytes past the end
  const float* val;        // [nnz]
  const uint32_t* counts;  // [rows]
  int rows;
  const float* x;
  float* y;
  ptrdiff_t y_stride;
  Epilogue epilogue;
};
using CsrDotFn = void (*)(const CsrDotArgs&);

// One channel of a depthwise convolution: y[col] = sum_t w[t] x[off[t] + col].
struct DepthwiseArgs {
  const float* w;      // [taps]
  const int32_t* off;  // [taps]
  int taps;
  const float* x;
  float* y;
  int cols;  // may be written up to the next multiple of 16 when `cols` > 8
  Epilogue epilogue;
};
using DepthwiseFn = void (*)(const DepthwiseArgs&);

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

// Column deltas of consecutive rows -> offsets: off[i] = table[col_i], or col_i * stride without a table; col is
// counted anew in every row.
struct ExpandColsArgs {
  const void* deltas;      // u8 or u16, by function
  const uint32_t* counts;  // [rows]
  int rows;
  const int32_t* table;  // [K], or null
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
