// Weights of integer products, in whatever form the file has them, as the panels of s8 that their kernels take.
#include "base/math.h"
#include "ops/weights.h"

namespace pyrt {
namespace {

constexpr int64_t kChunkColumns = 256;  // of a Huffman chunk of a dense panel

int64_t tile_bytes(const Weights& w) { return round_up(w.cols, 8) * kPanel; }
int64_t padded(int64_t n) { return round_up(n, 64); }

// n entries from `first`, of which the first are chunk `chunk` if they are coded.
void look_up(const Weights& w, const Kernels& kernels, int64_t first, int64_t chunk, int64_t n, int64_t chunk_size,
             uint8_t* to) {
  auto* values = reinterpret_cast<int8_t*>(to);
  if (w.index) {
    const auto start = static_cast<uint64_t>(first);
    kernels.expand_index_s8({w.index, start, w.index_bits, n, w.int8_book, w.book_size, values});
    return;
  }
  for (int64_t i = 0; i < n; i += chunk_size) {
    w.index_code.decode(kernels, chunk++, std::min(chunk_size, n - i), to + i);
  }
  kernels.expand_index_s8({to, 0, 8, n, w.int8_book, w.book_size, values});
}

}  // namespace

size_t Weights::s8_scratch() const {
  if (structure == kPanels && int8s) return 0;
  int64_t largest = 0;
  for (int64_t p = 0; structure == kCsr && p < groups * panels_per_group(); ++p) {
    largest = std::max<int64_t>(largest, panel_start[p + 1] - panel_start[p]);
  }
  return static_cast<size_t>(tile_bytes(*this) + 2 * padded(largest) + 8);  // kernels read so far past indices
}

const int8_t* Weights::s8_panel(const Kernels& kernels, int64_t panel, uint8_t* scratch) const {
  const int64_t size = cols * kPanel;
  if (structure == kPanels && int8s) return int8s + panel * size;
  auto* out = reinterpret_cast<int8_t*>(scratch);
  if (nibbles) {
    const int64_t pairs = ceil_div(cols, 8);
    kernels.unpack_s4({nibbles + panel * pairs * 64, pairs, out});
  } else if (structure == kPanels) {
    const int64_t chunk = panel * ceil_div(cols, kChunkColumns);
    look_up(*this, kernels, panel * size, chunk, size, kChunkColumns * kPanel, scratch);
  } else {
    uint32_t counts[kPanel];
    kernels.expand_csr_s8({csr_s8(kernels, panel, counts, scratch), cols, out});
  }
  return out;
}

CsrS8 Weights::csr_s8(const Kernels& kernels, int64_t panel, uint32_t (&counts)[kPanel], uint8_t* scratch) const {
  const int64_t first = panel_start[panel], n = panel_start[panel + 1] - first;
  const int64_t row = panel_row(panel), n_rows = rows_of(panel);
  for (int64_t r = 0; r < n_rows; ++r) counts[r] = row_count(row + r);
  uint8_t* decoded = scratch + tile_bytes(*this);
  const void* steps = decoded;
  if (deltas) steps = static_cast<const uint8_t*>(deltas) + first * delta_bits / 8;
  else delta_code.decode(kernels, panel, n, decoded);
  const int8_t* entries = int8s ? int8s + first : reinterpret_cast<int8_t*>(decoded + padded(n));
  if (!int8s && n > 0) look_up(*this, kernels, first, panel, n, n, decoded + padded(n));
  return {steps, delta_bits, counts, static_cast<int>(n_rows), entries};
}

}  // namespace pyrt
