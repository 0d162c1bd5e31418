// linear and conv2d: Y = W X on columns, for every structure a weight can have.
//
// A KxK convolution is the same product on shifted columns: weight column (c, kh, kw) meets row c of X at a fixed
// offset, so a table of K offsets is all that tells it from a 1x1. A strided convolution first splits X into its
// phases (every sh-th row, every sw-th column), after which its stride is 1.
#include "ops/csr_blocks.h"
#include "ops/op.h"

namespace pyrt {
namespace {

constexpr int64_t kBlockK = 256;  // columns of W done in one go: the tile of a decoded panel, 16 KB; = a Huffman chunk

// Where a thread decodes to, in the thread's scratch.
class Bump {
 public:
  explicit Bump(uint8_t* base) : at_(base) {}
  template <class T>
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(at_);
    at_ += round_up(n * static_cast<int64_t>(sizeof(T)) + 32, 64);
    return p;
  }
  size_t used(const uint8_t* base) const { return static_cast<size_t>(at_ - base); }

 private:
  uint8_t* at_;
};

// A part of the product: panels [panel, panel_end) of all groups, columns [col, col_end).
struct Range {
  int64_t panel, panel_end, col, col_end;
};

class MatmulOp : public Op {
 public:
  explicit MatmulOp(const OpSpec& spec) : Op(spec), w_(*spec.weights[0]) {
    Attrs attrs(spec);
    act_ = attrs.act();
    bias_ = spec.weights.size() > 1 ? spec.weights[1]->values : nullptr;
    scale_ = spec.weights.size() > 2 ? spec.weights[2]->values : nullptr;
    conv_ = spec.kind == OpKind::kConv2d;
    if (!conv_) return;
    kh_ = attrs.i32(), kw_ = attrs.i32();
    sh_ = attrs.i32(), sw_ = attrs.i32();
    pad_.top = attrs.i32(), pad_.left = attrs.i32(), pad_.bottom = attrs.i32(), pad_.right = attrs.i32();
    dh_ = attrs.i32(), dw_ = attrs.i32();
  }

  Status infer() override {
    const Node& x = *in[0];
    int64_t dims[kRankMax];
    std::copy(x.dims, x.dims + x.rank, dims);
    const int64_t taps = conv_ ? kh_ * kw_ : 1;
    if (x.channels != w_.cols / taps * w_.groups) {
      return error("expects " + std::to_string(w_.cols / taps * w_.groups) + (conv_ ? " channels" : " features") +
                   ", its input has " + std::to_string(x.channels));
    }
    if (conv_) {
      dims[2] = floor_div(x.height + pad_.top + pad_.bottom - dh_ * (kh_ - 1) - 1, sh_) + 1;
      dims[3] = floor_div(x.width + pad_.left + pad_.right - dw_ * (kw_ - 1) - 1, sw_) + 1;
      if (dims[2] < 1 || dims[3] < 1) {
        return error("an input of " + std::to_string(x.height) + "x" + std::to_string(x.width) +
                     " is smaller than the kernel");
      }
    }
    dims[x.axis] = w_.rows;
    set_out(x.rank, dims);
    if (in.size() > 1 && !in[1]->same_dims(*out)) return error("its residual input has another shape");
    return {};
  }

  void constrain(Layout* layout) override {
    staged_ = sh_ > 1 || sw_ > 1;
    source_ = in[0];
    if (staged_) {
      // Rows i*sh + r of the input are row i of phase r; tap kh of output row o reads row o + floor((kh*dh - top)/sh)
      // of phase (kh*dh - top) mod sh.
      phases_h_ = kh_ == 1 ? 1 : sh_;  // a single tap reads a single phase
      phases_w_ = kw_ == 1 ? 1 : sw_;
      source_ = layout->scratch();
      const int64_t dims[4] = {in[0]->images, in[0]->channels * phases_h_ * phases_w_, ceil_div(in[0]->height, sh_),
                               ceil_div(in[0]->width, sw_)};
      source_->set_shape(4, dims, 1);
    }
    if (conv_) {
      // Zeros that the taps read around what the source holds.
      const int64_t top = -row_shift(0), left = -col_shift(0);
      const int64_t bottom = out->height + row_shift(kh_ - 1) - source_->height;
      const int64_t right = out->width + col_shift(kw_ - 1) - source_->width;
      source_->halo.widen({std::max<int64_t>(top, 0), std::max<int64_t>(left, 0), std::max<int64_t>(bottom, 0),
                           std::max<int64_t>(right, 0)});
    }
    layout->share_grid(source_, out);
    if (in.size() > 1) layout->share_grid(in[1], out);
  }

  Status prepare(size_t* table_bytes, size_t* scratch_size) override {
    if (source_->channels * source_->plane > INT32_MAX) {
      return error("its input of " + std::to_string(source_->channels * source_->plane) +
                   " elements is too large; use a smaller batch");
    }
    few_ = out->cols <= kFewColumns;
    linear_ = w_.sparse() && kh_ * kw_ == 1 && row_shift(0) == 0 && col_shift(0) == 0;
    const int64_t taps = kh_ * kw_;
    const int64_t planes = staged_ ? phases_h_ * phases_w_ : 1;
    if (!linear_) offsets_.resize(static_cast<size_t>(w_.cols));
    for (int64_t k = 0; k < static_cast<int64_t>(offsets_.size()); ++k) {
      const int64_t c = k / taps, i = k % taps / kw_, j = k % kw_;
      const int64_t plane = staged_ ? row_phase(i) * phases_w_ + col_phase(j) : 0;
      const int64_t shift = conv_ ? row_shift(i) * source_->pitch + col_shift(j) : 0;
      offsets_[static_cast<size_t>(k)] = static_cast<int32_t>((c * planes + plane) * source_->plane + shift);
    }
    *table_bytes += offsets_.size() * sizeof(int32_t);
    largest_panel_ = 0;
    if (w_.sparse()) {
      const int64_t block = w_.block();
      blocks_ = CsrBlocks::choose(w_.rows_per_group() / block, w_.cols,
                                  static_cast<int64_t>(w_.entries) / w_.groups / block, out->cols, !linear_);
      for (int64_t p = 0; p < w_.groups * w_.panels_per_group(); ++p) {
        largest_panel_ = std::max<int64_t>(largest_panel_, w_.panel_start[p + 1] - w_.panel_start[p]);
      }
    }
    uint8_t* none = nullptr;
    Bump bump(none);
    Tile(w_, largest_panel_, blocks_, &bump);
    *scratch_size = std::max(*scratch_size, bump.used(none));
    return {};
  }

  int64_t flops() const override {
    const int64_t positions = out->elements() / w_.rows;
    // In double, since a sparse weight may declare any number of columns.
    const double flops =
        2.0 * static_cast<double>(w_.rows) * static_cast<double>(w_.cols) * static_cast<double>(positions);
    return static_cast<int64_t>(std::min(flops, 9e18));
  }
  int64_t weight_bytes() const override { return static_cast<int64_t>(w_.bytes); }
  const char* kernel(const Kernels& k) const override {
    if (w_.structure == Weights::kRows) return k.depthwise_f32_name;
    if (w_.structure == Weights::kBcsr) return few_ ? k.bcsr_f32_few_name : k.bcsr_f32_name;
    if (w_.structure == Weights::kCsr && dot()) return k.csr_f32_dot_name;
    if (w_.structure == Weights::kCsr) return few_ ? k.csr_f32_few_name : k.csr_f32_name;
    if (few_) return w_.halves ? k.gemm_f16_few_name : k.gemm_f32_few_name;
    return k.gemm_f32_name;
  }

  void run(const RunContext& ctx) override {
    if (staged_) split_phases(ctx);
    if (w_.structure == Weights::kRows) return run_depthwise(ctx);
    const int64_t panels = w_.groups * w_.panels_per_group();
    const int64_t work = static_cast<int64_t>(w_.entries) * out->cols + out->elements();
    ctx.parallel(work, [&](int part, int parts) {
      Range range{0, panels, 0, out->cols};
      // Rows are split where every thread gets enough panels, since decoding is then done once; else columns are.
      // The order of a sparse sum depends on the tile a column lies in, so tiles are not cut.
      const bool csr = w_.sparse();
      const int64_t granule = csr ? blocks_.tile : 16;
      // Copying X costs more than decoding twice.
      const bool by_rows = (panels >= 4 * parts && !(csr && blocks_.packed)) || few_ || out->cols < 2 * granule * parts;
      if (by_rows) {
        range.panel = first_panel(part, parts, panels);
        range.panel_end = first_panel(part + 1, parts, panels);
      } else {
        range.col = std::min(round_up(out->cols * part / parts, granule), out->cols);
        range.col_end = std::min(round_up(out->cols * (part + 1) / parts, granule), out->cols);
      }
      if (range.panel >= range.panel_end || range.col >= range.col_end) return;
      if (out->mask && (by_rows || part == parts - 1)) clear_margins(range);
      if (csr && few_) run_csr_few(ctx, part, range);
      else if (csr) run_csr(ctx, part, range);
      else run_panels(ctx, part, range);
    });
  }

 private:
  // What a thread decodes a panel to.
  struct Tile {
    Tile(const Weights& w, int64_t largest_panel, const CsrBlocks& blocks, Bump* bump) {
      if (w.sparse()) {
        const int64_t entries = std::max(largest_panel, std::min(blocks.entries, static_cast<int64_t>(w.entries)));
        const int64_t block = w.block();  // values of an entry
        const int64_t rows = std::min(std::max(w.panel_rows, kDecodedRows), w.rows);
        if (blocks.packed) packed = bump->take<float>(blocks.k * blocks.tile);
        off = bump->take<int32_t>(entries);
        counts = bump->take<uint32_t>(rows);
        bounds = bump->take<uint32_t>(rows * (blocks.count + 1));
        if (!w.values) values = bump->take<float>(entries * block);
        if (!w.deltas) deltas = bump->take<uint8_t>(largest_panel);
        if (w.book && !w.index) symbols = bump->take<uint8_t>(largest_panel * block);
      } else if (w.structure == Weights::kPanels && !w.values) {
        values = bump->take<float>(kBlockK * kPanel);
        if (w.book && !w.index) symbols = bump->take<uint8_t>(kBlockK * kPanel);
      }
    }
    float* packed = nullptr;
    int32_t* off = nullptr;
    uint32_t* counts = nullptr;
    uint32_t* bounds = nullptr;  // [blocks + 1][rows], where the entries of each block of columns start
    float* values = nullptr;
    uint8_t* deltas = nullptr;   // decoded, when they are Huffman-coded
    uint8_t* symbols = nullptr;  // decoded codebook indices
  };

  int64_t row_shift(int64_t i) const { return floor_div(i * dh_ - pad_.top, sh_); }
  int64_t col_shift(int64_t j) const { return floor_div(j * dw_ - pad_.left, sw_); }
  // The phase of the input that a tap reads, and its number among the phases kept.
  int64_t row_of_phase(int64_t phase) const { return phases_h_ == 1 ? floor_mod(-pad_.top, sh_) : phase; }
  int64_t col_of_phase(int64_t phase) const { return phases_w_ == 1 ? floor_mod(-pad_.left, sw_) : phase; }
  int64_t row_phase(int64_t i) const { return phases_h_ == 1 ? 0 : floor_mod(i * dh_ - pad_.top, sh_); }
  int64_t col_phase(int64_t j) const { return phases_w_ == 1 ? 0 : floor_mod(j * dw_ - pad_.left, sw_); }
  static int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }

  int64_t first_panel(int64_t part, int64_t parts, int64_t panels) const {
    if (!w_.sparse()) return panels * part / parts;
    // By entries, plus a constant per panel for its rows of output.
    const uint64_t total = w_.panel_start[panels] + static_cast<uint64_t>(w_.rows) * 2;
    const uint64_t target = total * static_cast<uint64_t>(part) / static_cast<uint64_t>(parts);
    const uint64_t per_panel = static_cast<uint64_t>(w_.rows) * 2 / static_cast<uint64_t>(panels);
    int64_t low = 0, high = panels;
    while (low < high) {
      const int64_t mid = (low + high) / 2;
      if (w_.panel_start[mid] + per_panel * static_cast<uint64_t>(mid) < target) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  // First row of a panel, counted over all groups, and its number of rows.
  int64_t panel_row(int64_t panel) const {
    const int64_t per_group = w_.panels_per_group();
    return panel / per_group * w_.rows_per_group() + panel % per_group * panel_height();
  }
  int64_t panel_rows(int64_t panel) const {
    return std::min(panel_height(), w_.rows_per_group() - panel % w_.panels_per_group() * panel_height());
  }
  int64_t panel_height() const { return w_.sparse() ? w_.panel_rows : kPanel; }
  const float* group_x(int64_t panel) const {
    return source_->data + panel / w_.panels_per_group() * (source_->channels / w_.groups) * source_->plane;
  }

  void clear_margins(const Range& range) const {
    const int64_t last = range.panel_end - 1;
    out->clear_margins(panel_row(range.panel), panel_row(last) + panel_rows(last));
  }

  Epilogue epilogue(int64_t row, int64_t col) const {
    Epilogue e;
    e.act = act_;
    if (bias_) e.bias = bias_ + row;
    if (scale_) e.scale = scale_ + row;
    if (in.size() > 1) e.residual = in[1]->row(row) + col;
    if (out->mask) e.mask = out->mask + col / 8;
    return e;
  }

  static void decode_symbols(const RunContext& ctx, const CodedStream& code, int64_t chunk, int64_t n, uint8_t* out) {
    const uint32_t begin = code.offset[chunk];
    ctx.kernels->huffman_u8(
        {code.table, code.data + begin, code.offset[chunk + 1] - begin, static_cast<size_t>(n), out});
  }

  // Entries [first, first + n) of the tensor as f32; of a codebook they are chunk `chunk` of the stream if it is
  // Huffman-coded.
  void decode_values(const RunContext& ctx, int64_t chunk, int64_t first, int64_t n, uint8_t* symbols,
                     float* values) const {
    if (w_.halves) {
      ctx.kernels->widen_f16({w_.halves + first, n, values});
    } else if (w_.index) {
      ctx.kernels->expand_index_f32(
          {w_.index, static_cast<uint64_t>(first), w_.index_bits, n, w_.book, w_.book_size, values});
    } else {
      decode_symbols(ctx, w_.index_code, chunk, n, symbols);
      ctx.kernels->expand_index_f32({symbols, 0, 8, n, w_.book, w_.book_size, values});
    }
  }

  void run_panels(const RunContext& ctx, int part, const Range& range) const {
    Bump bump(ctx.thread_scratch(part));
    const Tile tile(w_, largest_panel_, blocks_, &bump);
    // A block of X, kBlockK rows of `width` columns, stays in half of L2 while all panels pass over it.
    const bool as_stored = w_.values || (few_ && w_.halves);  // the kernel reads the weights where they lie
    // Weights that are not decoded are best read from end to end, as long as X stays in L2 meanwhile.
    const int64_t half_l2 = cache_sizes().l2 / 2 / static_cast<int64_t>(sizeof(float));
    const bool x_fits = source_->channels / w_.groups * out->cols <= half_l2;
    const int64_t block_k = as_stored && (few_ || x_fits) ? w_.cols : kBlockK;
    const GemmFn few = few_ && w_.halves ? ctx.kernels->gemm_f16_few : ctx.kernels->gemm_f32_few;
    const int64_t fit = half_l2 / std::min(w_.cols, kBlockK) / 48 * 48;
    const int64_t width = x_fits ? out->cols : std::max<int64_t>(fit, 48);
    const int64_t blocks = ceil_div(w_.cols, block_k);
    for (int64_t col = range.col; col < range.col_end; col += width) {
      const int64_t cols = std::min(width, range.col_end - col);
      // A vector of 16 columns costs 16 multiply-adds per panel and weight column, however few of them are used; the
      // `few` form costs one per column. So it takes all of a narrow product, and the narrow end of a wide one.
      const int64_t odd = cols % 16;
      const int64_t tail = few_ ? cols : col + cols == out->cols && odd <= kFewColumns ? odd : 0;
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t k0 = b * block_k, k = std::min(block_k, w_.cols - k0);
        for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
          const int64_t row = panel_row(panel), entry = (panel * w_.cols + k0) * kPanel;
          const void* values = w_.halves ? static_cast<const void*>(w_.halves + entry) : w_.values + entry;
          if (!as_stored) {
            decode_values(ctx, panel * blocks + b, entry, k * kPanel, tile.symbols, tile.values);
            values = tile.values;
          }
          const auto product = [&](GemmFn gemm, int64_t c, int64_t n) {
            if (n == 0) return;
            gemm({values, offsets_.data() + k0, static_cast<int>(k), group_x(panel) + c, out->row(row) + c, out->plane,
                  static_cast<int>(panel_rows(panel)), static_cast<int>(n), b == 0, b == blocks - 1, epilogue(row, c)});
          };
          product(ctx.kernels->gemm_f32, col, cols - tail);
          product(few, col + cols - tail, tail);
        }
      }
    }
  }

  // The deltas of a panel, decoded if they have to be.
  const uint8_t* deltas(const RunContext& ctx, int64_t panel, int64_t n, const Tile& tile) const {
    if (w_.deltas) return static_cast<const uint8_t*>(w_.deltas) + w_.panel_start[panel] * w_.delta_bits / 8;
    decode_symbols(ctx, w_.delta_code, panel, n, tile.deltas);
    return tile.deltas;
  }
  ExpandColsFn expand_cols(const RunContext& ctx) const {
    return w_.delta_bits == 8 ? ctx.kernels->expand_cols_u8 : ctx.kernels->expand_cols_u16;
  }

  void run_csr_few(const RunContext& ctx, int part, const Range& range) const {
    Bump bump(ctx.thread_scratch(part));
    const Tile tile(w_, largest_panel_, blocks_, &bump);
    for (int64_t panel = range.panel; panel < range.panel_end; ++panel) {
      const int64_t row = panel_row(panel), block = w_.block();
      const auto rows = static_cast<int>(panel_rows(panel) / block);
      const int64_t first = w_.panel_start[panel], n = w_.panel_start[panel + 1] - first;
      for (int64_t r = 0; r < rows; ++r) tile.counts[r] = row_count(row / block + r);
      const uint8_t* in = deltas(ctx, panel, n, tile);
      const float* values = w_.values ? w_.values + first * block : tile.values;
      if (!w_.values) decode_values(ctx, panel, first * block, n * block, tile.symbols, tile.values);
      if (dot()) {
        ctx.kernels->csr_f32_dot(
            {in, values, tile.counts, rows, group_x(panel), out->row(row), out->plane, epilogue(row, 0)});
        continue;
      }
      expand_cols(ctx)(
          {in, tile.counts, rows, linear_ ? nullptr : offsets_.data(), static_cast<int32_t>(source_->plane), tile.off});
      const CsrFewFn few = block > 1 ? ctx.kernels->bcsr_f32_few : ctx.kernels->csr_f32_few;
      few({tile.off, values, tile.counts, rows, group_x(panel), out->row(row), out->plane, static_cast<int>(out->cols),
           epilogue(row, 0)});
    }
  }

  void run_csr(const RunContext& ctx, int part, const Range& range) const {
    Bump bump(ctx.thread_scratch(part));
    const Tile tile(w_, largest_panel_, blocks_, &bump);
    // Offsets count from X, or from its packed copy.
    const bool table = !linear_ && !blocks_.packed;
    const int64_t block = w_.block();
    const auto stride = static_cast<int32_t>(blocks_.packed ? blocks_.tile : source_->plane);
    for (int64_t panel = range.panel; panel < range.panel_end;) {
      // As many panels of a group as are decoded together.
      const int64_t row = panel_row(panel), first = w_.panel_start[panel], group = panel / w_.panels_per_group();
      const float* x = group_x(panel);
      int64_t rows = 0, entries = 0;
      for (; panel < range.panel_end && panel / w_.panels_per_group() == group; ++panel) {
        const int64_t start = w_.panel_start[panel], n = w_.panel_start[panel + 1] - start;
        const int64_t more = panel_rows(panel) / block;
        if (rows > 0 && (entries + n > blocks_.entries || rows + more > kDecodedRows)) break;
        for (int64_t r = rows; r < rows + more; ++r) tile.counts[r] = row_count(row / block + r);
        // Blocks of columns jump through the values, where no hardware prefetcher follows.
        if (w_.values && blocks_.count > 1) prefetch(w_.values + start * block, n * block);
        if (!w_.values)
          decode_values(ctx, panel, start * block, n * block, tile.symbols, tile.values + entries * block);
        expand_cols(ctx)({deltas(ctx, panel, n, tile), tile.counts + rows, static_cast<int>(more),
                          table ? offsets_.data() : nullptr, stride, tile.off + entries});
        rows += more, entries += n;
      }
      multiply(ctx, tile, w_.values ? w_.values + first * block : tile.values, row, static_cast<int>(rows), x, range);
    }
  }

  static void prefetch(const float* p, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i);
  }

  // The decoded rows times the columns of the range, block by block.
  void multiply(const RunContext& ctx, const Tile& tile, const float* values, int64_t row, int rows, const float* x,
                const Range& range) const {
    const CsrFn product = w_.block() > 1 ? ctx.kernels->bcsr_f32 : ctx.kernels->csr_f32;
    const int64_t count = blocks_.count, stride = blocks_.packed ? blocks_.tile : source_->plane;
    uint32_t at = 0;
    for (int r = 0; r < rows; ++r) {
      tile.bounds[r] = at;
      at += tile.counts[r];
      tile.bounds[count * rows + r] = at;
    }
    for (int64_t b = 1; b < count; ++b) {
      ctx.kernels->split_rows({tile.off, tile.bounds + (b - 1) * rows, tile.bounds + count * rows, rows,
                               static_cast<int32_t>(b * blocks_.k * stride), tile.bounds + b * rows});
    }
    for (int64_t col = range.col; col < range.col_end; col += blocks_.tile) {
      const auto cols = static_cast<int>(std::min(blocks_.tile, range.col_end - col));
      for (int64_t b = 0; b < count; ++b) {
        const int64_t k0 = b * blocks_.k, k = std::min(blocks_.k, w_.cols - k0);
        const float* from = x + col;
        if (blocks_.packed) {
          ctx.kernels->pack_rows_f32(
              {x + col, offsets_.data() + k0, static_cast<int>(k), cols, tile.packed, blocks_.tile});
          from = tile.packed - k0 * blocks_.tile;  // so that the offsets of the block lie in the copy
        }
        product({tile.off, values, tile.bounds + b * rows, tile.bounds + (b + 1) * rows, rows, from,
                 out->row(row) + col, out->plane, cols, b == 0, b == count - 1, epilogue(row, col)});
      }
    }
  }

  // One column whose channels are neighbours: the sparse product needs no offsets.
  bool dot() const {
    return w_.structure == Weights::kCsr && linear_ && out->cols == 1 && source_->plane == 1 && w_.delta_bits == 8;
  }

  uint32_t row_count(int64_t row) const {
    if (w_.count_bits == 8) return static_cast<const uint8_t*>(w_.row_counts)[row];
    // The 16- and 32-bit counts follow 4-byte panel starts, so they are aligned.
    if (w_.count_bits == 16) return static_cast<const uint16_t*>(w_.row_counts)[row];
    return static_cast<const uint32_t*>(w_.row_counts)[row];
  }

  void run_depthwise(const RunContext& ctx) const {
    const int64_t work = w_.rows * w_.cols * out->cols;
    ctx.parallel(work, [&](int part, int parts) {
      const int64_t multiplier = w_.rows_per_group(), planes = source_->channels / w_.groups;
      float taps[kMaxTaps];
      const int64_t end = w_.rows * (part + 1) / parts;
      for (int64_t row = w_.rows * part / parts; row < end; ++row) {
        if (out->mask) out->clear_margins(row, row + 1);
        const float* w = w_.values + row * w_.cols;
        if (w_.halves) {
          ctx.kernels->widen_f16({w_.halves + row * w_.cols, w_.cols, taps});
          w = taps;
        } else if (!w_.values) {
          const auto first = static_cast<uint64_t>(row * w_.cols);
          ctx.kernels->expand_index_f32({w_.index, first, w_.index_bits, w_.cols, w_.book, w_.book_size, taps});
          w = taps;
        }
        ctx.kernels->depthwise_f32({w, offsets_.data(), static_cast<int>(w_.cols),
                                    source_->row(row / multiplier * planes), out->row(row), static_cast<int>(out->cols),
                                    epilogue(row, 0)});
      }
    });
  }

  void split_phases(const RunContext& ctx) const {
    const Node& x = *in[0];
    ctx.parallel(x.elements() * 2, [&](int part, int parts) {
      const int64_t planes = phases_h_ * phases_w_;
      const int64_t end = x.channels * (part + 1) / parts;
      for (int64_t c = x.channels * part / parts; c < end; ++c) {
        source_->clear(c * planes, (c + 1) * planes);
        for (int64_t p = 0; p < planes; ++p) {
          const int64_t h0 = row_of_phase(p / phases_w_), w0 = col_of_phase(p % phases_w_);
          const int64_t rows = ceil_div(x.height - h0, sh_), cols = ceil_div(x.width - w0, sw_);
          for (int64_t n = 0; n < x.images; ++n) {
            for (int64_t h = 0; h < rows; ++h) {
              const float* from = x.row(c, n, h * sh_ + h0) + w0;
              float* to = source_->row(c * planes + p, n, h);
              if (sw_ == 2) {
                for (int64_t i = 0; i < cols; ++i) to[i] = from[2 * i];
              } else {
                for (int64_t i = 0; i < cols; ++i) to[i] = from[i * sw_];
              }
            }
          }
        }
      }
    });
  }

  static constexpr int kMaxTaps = 1024;

  const Weights& w_;
  Activation act_;
  const float *bias_ = nullptr, *scale_ = nullptr;
  bool conv_ = false;
  int64_t kh_ = 1, kw_ = 1, sh_ = 1, sw_ = 1, dh_ = 1, dw_ = 1;
  Halo pad_;

  bool staged_ = false, few_ = false;
  bool linear_ = false;     // sparse and without taps or padding: offsets are multiples of the plane
  Node* source_ = nullptr;  // the input, or its phases
  int64_t phases_h_ = 1, phases_w_ = 1;
  int64_t largest_panel_ = 0;
  CsrBlocks blocks_;
  std::vector<int32_t> offsets_;
};

}  // namespace

std::unique_ptr<Op> make_matmul(const OpSpec& spec) { return std::make_unique<MatmulOp>(spec); }

}  // namespace pyrt
