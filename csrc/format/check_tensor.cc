// What the streams of a tensor must hold, so that kernels can run on them without a check.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/huffman.h"
#include "base/math.h"
#include "format/reader.h"

namespace pyrt::format {
namespace {

uint32_t load_u32(const uint8_t* p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

uint32_t load_count(const uint8_t* p, uint64_t i, int bits) {
  if (bits == 8) return p[i];
  uint16_t half;
  if (bits == 16) return std::memcpy(&half, p + 2 * i, 2), half;
  return load_u32(p + 4 * i);
}

bool is_sparse(const Tensor& t) {
  return t.structure >= static_cast<uint16_t>(Structure::kCsr) &&
         t.structure <= static_cast<uint16_t>(Structure::kBcsr16);
}

// Rows that share the columns of an entry.
uint32_t block_rows(const Tensor& t) {
  return is_sparse(t) && t.structure != static_cast<uint16_t>(Structure::kCsr)
             ? 4u << (t.structure - static_cast<uint16_t>(Structure::kBcsr))
             : 1;
}

uint32_t panels_per_group(const Tensor& t) {
  const uint64_t panel_rows = t.panel_rows > 0 ? t.panel_rows : kPanelRows;
  return static_cast<uint32_t>(ceil_div(t.rows / t.groups, static_cast<int64_t>(panel_rows)));
}

// Of a panels tensor: the columns of a Huffman chunk, and the entries of a row. An entry of a product codebook stands
// for several columns.
uint32_t row_entries(const Tensor& t) { return t.cols / codeword_size(t); }
uint32_t chunk_columns(const Tensor& t) { return kChunkColumns / codeword_size(t); }

// The checks of one tensor; `where` names it in every error.
class TensorCheck {
 public:
  TensorCheck(const File& file, uint32_t index) : file_(file), t_(file.tensor(index)) {
    where_ = "section TENSORS: entry " + std::to_string(index) + " (" + file.string(t_.name) + ")";
  }

  Status run() {
    PYRT_RETURN_IF_ERROR(check_header());
    if (csr_) PYRT_RETURN_IF_ERROR(check_rows());
    if (csr_) PYRT_RETURN_IF_ERROR(check_cols());
    if (scaled()) PYRT_RETURN_IF_ERROR(check_scales());
    if (planes_ > 0) PYRT_RETURN_IF_ERROR(check_row_scales());
    if (ordered_) PYRT_RETURN_IF_ERROR(check_order());
    if (pairs_) PYRT_RETURN_IF_ERROR(check_places());
    if (planes_ == 2) PYRT_RETURN_IF_ERROR(check_planes());
    if (!book_) return check_plain();
    PYRT_RETURN_IF_ERROR(check_book());
    return check_index();
  }

 private:
  Status error(const std::string& rule) const { return invalid_file(where_ + ": " + rule); }

  Status check_header() {
    if (t_.structure < 1 || t_.structure > 7) return error("unknown structure " + std::to_string(t_.structure));
    if (t_.values < 1 || t_.values > 14) return error("unknown values code " + std::to_string(t_.values));
    if (t_.rows < 1 || t_.cols < 1 || t_.rows > INT32_MAX || t_.cols > INT32_MAX) return error("empty or too large");
    if (t_.groups < 1 || t_.rows % t_.groups != 0) return error("groups must divide rows");
    csr_ = is_sparse(t_);
    bit_ = t_.values == static_cast<uint16_t>(Values::kBits);
    block_ = block_rows(t_);
    pairs_ = t_.structure == static_cast<uint16_t>(Structure::kPairs);
    const bool panels = t_.structure == static_cast<uint16_t>(Structure::kPanels);
    // Rows whose indices are Huffman-coded say how many of them are a chunk.
    const bool coded_rows = !csr_ && !panels && !pairs_ && t_.panel_rows != 0;
    if (csr_ || coded_rows ? t_.panel_rows < 1 || t_.panel_rows > INT32_MAX
                           : t_.panel_rows != (panels && bit_     ? kBitPanelRows
                                               : panels || pairs_ ? kPanelRows
                                                                  : 0)) {
      return error("wrong panel_rows " + std::to_string(t_.panel_rows));
    }
    const bool product = t_.values == static_cast<uint16_t>(Values::kProduct);
    const bool s8_book = t_.values == static_cast<uint16_t>(Values::kS8Book);
    book_ = product || s8_book || t_.values == static_cast<uint16_t>(Values::kCodebook);
    if (coded_rows && (!book_ || t_.groups != 1)) {
      return error("only ungrouped rows of a codebook come in chunks");
    }
    if (t_.rows / t_.groups % block_ != 0 || t_.panel_rows % block_ != 0 || t_.entries % block_ != 0) {
      return error("the rows of a bcsr group and panel, and its entries, come in blocks");
    }
    if (pairs_ && t_.cols % kQuad != 0) return error("the columns of 2:4 come in fours");
    const bool s8 = t_.values == static_cast<uint16_t>(Values::kS8);
    const bool csr = t_.structure == static_cast<uint16_t>(Structure::kCsr);
    if (s8_book && !panels && !csr) return error("s8book values are for panels and csr");
    if (s8 && !panels && (csr_ != csr || pairs_)) return error("s8 values are for rows, panels and csr");
    if ((s8 || s8_book) && (panels || csr) && t_.cols % kQuad != 0) return error("the columns of s8 come in fours");
    if ((s8 || s8_book) && csr && t_.panel_rows != kPanelRows) return error("panels of s8 csr have 16 rows");
    const bool s4 = t_.values == static_cast<uint16_t>(Values::kS4);
    if (s4 && (!panels || t_.cols % kQuad != 0)) return error("s4 values are for panels with columns in fours");
    if (bit_ && !panels) return error("bits are for panels");
    if (t_.values == static_cast<uint16_t>(Values::kI32) && t_.structure != static_cast<uint16_t>(Structure::kRows)) {
      return error("i32 values are for rows");
    }
    if (t_.values == static_cast<uint16_t>(Values::kI16) && t_.structure != static_cast<uint16_t>(Structure::kRows)) {
      return error("i16 values are for rows");
    }
    if (scaled() && !panels) return error("q8 and q4 values are for panels");
    planes_ = t_.values == static_cast<uint16_t>(Values::kBinary)    ? 1
              : t_.values == static_cast<uint16_t>(Values::kTernary) ? 2
                                                                     : 0;
    if (planes_ > 0 && !panels) return error("binary and ternary values are for panels");
    int64_t stored = 0;
    // Rows of s8 (depthwise filters) are stored in groups of 4 rows and 4 taps.
    const int64_t quad = s8 ? kQuad : bit_ ? 8 : 1;
    const bool q4 = t_.values == static_cast<uint16_t>(Values::kQ4);
    const int64_t columns = planes_ > 0 ? kBitColumns : s4 || q4 ? 2 * kQuad : scaled() ? kQuad : quad;
    const int64_t stored_rows =
        panels || pairs_ ? int64_t{t_.groups} * panels_per_group(t_) * t_.panel_rows : round_up(t_.rows, quad);
    const int64_t stored_cols = pairs_ ? t_.cols / 2 : round_up(t_.cols, columns);
    if (!checked_mul(stored_rows, stored_cols, &stored) || stored > static_cast<int64_t>(kMaxSize)) {
      return error("rows x cols is too large");
    }
    if (product) {
      if (csr_ || pairs_) return error("a product codebook is for rows and panels");
      const uint64_t size = t_.entries == 0 ? 0 : static_cast<uint64_t>(stored) / t_.entries;
      if (size < 2 || size > kMaxCodeword || t_.cols % size != 0 ||
          size * t_.entries != static_cast<uint64_t>(stored)) {
        return error("an entry of a product codebook stands for 2 to 64 columns, which divide the tensor's");
      }
      stored /= static_cast<int64_t>(size);
    }
    if (csr_ ? t_.entries > static_cast<uint64_t>(stored) : t_.entries != static_cast<uint64_t>(stored)) {
      return error("entries do not agree with rows x cols");
    }
    if (t_.parameters > kMaxSize) return error("parameter count out of range");
    std::vector<StreamKind> expected;
    if (csr_) expected = {StreamKind::kRows, StreamKind::kCols};
    if (scaled() || planes_ > 0) expected.push_back(StreamKind::kScales);
    ordered_ = block_ > 1 && t_.stream_count > 0 &&
               file_.stream(t_.first_stream).kind == static_cast<uint8_t>(StreamKind::kOrder);
    if (ordered_) expected.insert(expected.begin(), StreamKind::kOrder);
    if (pairs_) expected = {StreamKind::kPlaces};
    if (book_) expected.insert(expected.end(), {StreamKind::kBook, StreamKind::kIndex});
    else expected.push_back(StreamKind::kValues);
    if (t_.stream_count != expected.size()) return error("wrong number of streams");
    for (uint32_t i = 0; i < t_.stream_count; ++i) {
      const Stream& s = file_.stream(t_.first_stream + i);
      if (s.kind != static_cast<uint8_t>(expected[i])) return error("streams missing or out of order");
      const bool may_code =
          (expected[i] == StreamKind::kCols || expected[i] == StreamKind::kIndex) && (csr_ || panels || coded_rows);
      if (s.coding > 1 || (s.coding == 1 && !may_code) || (s.coding == 0 && coded_rows && may_code))
        return error("coding not allowed for this stream");
    }
    return {};
  }

  const Stream& stream(StreamKind kind) const { return *file_.find_stream(t_, kind); }

  // Each row of a group once.
  Status check_order() {
    const Stream& s = stream(StreamKind::kOrder);
    if (s.bits != 32 || s.count != 0 || s.size != 4 * uint64_t{t_.rows}) return error("ORDER: wrong size");
    const uint8_t* p = file_.stream_data(s);
    const uint32_t group_rows = t_.rows / t_.groups;
    std::vector<bool> seen(group_rows);
    for (uint32_t row = 0; row < t_.rows; ++row) {
      if (row % group_rows == 0) std::fill(seen.begin(), seen.end(), false);
      const uint32_t at = load_u32(p + 4ull * row);
      if (at >= group_rows || seen[at]) return error("ORDER: not every row of a group once");
      seen[at] = true;
    }
    return {};
  }

  // The two places of a row rise.
  Status check_places() {
    const Stream& s = stream(StreamKind::kPlaces);
    if (s.bits != 2 || s.count != 0 || s.size != t_.entries / 4) return error("PLACES: wrong size");
    const uint8_t* p = file_.stream_data(s);
    for (uint64_t i = 0; i < s.size; i += 8) {
      const uint32_t first = load_u32(p + i), second = load_u32(p + i + 4);
      for (uint32_t r = 0; r < kPanelRows; ++r) {
        if ((first >> 2 * r & 3) >= (second >> 2 * r & 3)) return error("PLACES: the two places of a row do not rise");
      }
    }
    return {};
  }

  // From here on a row of bcsr is a block of rows, and an entry one of its columns.
  uint32_t rows() const { return t_.rows / block_; }
  uint32_t panel_rows() const { return t_.panel_rows / block_; }
  uint64_t entries() const { return t_.entries / block_; }

  Status check_rows() {
    const Stream& s = stream(StreamKind::kRows);
    const uint8_t* p = file_.stream_data(s);
    const uint64_t panels = uint64_t{t_.groups} * panels_per_group(t_);
    if (s.bits != 8 && s.bits != 16 && s.bits != 32) return error("ROWS: bits must be 8, 16 or 32");
    if (s.count != 0 || s.size != 4 * (panels + 1) + uint64_t{rows()} * s.bits / 8) return error("ROWS: wrong size");
    const uint32_t group_rows = rows() / t_.groups;
    const uint8_t* counts = p + 4 * (panels + 1);
    uint64_t row = 0, nnz = 0;
    for (uint64_t panel = 0; panel < panels; ++panel) {
      if (load_u32(p + 4 * panel) != nnz) return error("ROWS: panel_start does not agree with the row counts");
      const uint64_t in_group = (panel % panels_per_group(t_)) * panel_rows();
      const uint64_t end = row + std::min<uint64_t>(panel_rows(), group_rows - in_group);
      for (; row < end; ++row) {
        const uint32_t n = load_count(counts, row, s.bits);
        if (n > t_.cols) return error("ROWS: row " + std::to_string(row) + " has more entries than columns");
        nnz += n;
      }
    }
    if (nnz != entries() || nnz > UINT32_MAX || load_u32(p + 4 * panels) != nnz) {
      return error("ROWS: the counts do not add up to the number of entries");
    }
    return {};
  }

  Status check_cols() {
    const Stream& s = stream(StreamKind::kCols);
    if (s.bits != 8 && s.bits != 16) return error("COLS: bits must be 8 or 16");
    if (s.coding == 1 && s.bits != 8) return error("COLS: only 8-bit deltas can be Huffman-coded");
    const Stream& counted = stream(StreamKind::kRows);
    const uint8_t* counts = file_.stream_data(counted) + 4 * (uint64_t{t_.groups} * panels_per_group(t_) + 1);
    const uint8_t* deltas = file_.stream_data(s);
    if (s.coding == 0) {
      if (s.count != 0 || s.size != entries() * s.bits / 8) return error("COLS: wrong size");
      return check_deltas(deltas, s.bits, counts, counted.bits, 0, rows());
    }
    return check_huffman(s, 256, [&](const std::vector<uint8_t>& symbols, uint32_t chunk) {
      const uint32_t per_group = panels_per_group(t_), group_rows = rows() / t_.groups;
      const uint64_t begin = uint64_t{chunk / per_group} * group_rows + uint64_t{chunk % per_group} * panel_rows();
      const uint64_t end = std::min<uint64_t>(begin + panel_rows(), uint64_t{chunk / per_group + 1} * group_rows);
      return check_deltas(symbols.data(), 8, counts, counted.bits, begin, end);
    });
  }

  // A row's columns rise by construction; its last one must be a column.
  Status check_deltas(const uint8_t* deltas, int bits, const uint8_t* counts, int count_bits, uint64_t row,
                      uint64_t row_end) {
    for (; row < row_end; ++row) {
      const uint32_t n = load_count(counts, row, count_bits);
      uint64_t sum = n;
      if (bits == 8) {
        for (uint32_t i = 0; i < n; ++i) sum += deltas[i];
      } else {
        uint16_t delta;
        for (uint32_t i = 0; i < n; ++i) std::memcpy(&delta, deltas + 2 * i, 2), sum += delta;
      }
      if (sum > t_.cols) return error("COLS: row " + std::to_string(row) + " reaches past the last column");
      deltas += uint64_t{n} * bits / 8;
    }
    return {};
  }

  bool scaled() const {
    return t_.values == static_cast<uint16_t>(Values::kQ8) || t_.values == static_cast<uint16_t>(Values::kQ4);
  }

  // One f32 or f16 per row of every panel, padding included, and group of `count` columns.
  Status check_scales() {
    const Stream& s = stream(StreamKind::kScales);
    if (s.bits != 16 && s.bits != 32) return error("SCALES: bits must be 16 or 32");
    if (s.count == 0 || s.count % kScaleColumns != 0 || s.count > INT32_MAX) {
      return error("SCALES: columns that share a scale come in multiples of 32");
    }
    const int64_t panels = int64_t{t_.groups} * panels_per_group(t_);
    const int64_t n = panels * kPanelRows * ceil_div(t_.cols, int64_t{s.count});
    if (s.size != static_cast<uint64_t>(n) * s.bits / 8) return error("SCALES: wrong size");
    const uint8_t* p = file_.stream_data(s);
    for (int64_t i = 0; i < n; ++i) {
      bool good;
      if (s.bits == 16) {
        uint16_t half;
        std::memcpy(&half, p + 2 * i, 2);
        good = half < 0x7c00;
      } else {
        float scale;
        std::memcpy(&scale, p + 4 * i, 4);
        good = scale == 0.0f || (scale >= kMinScale && scale <= kMaxScale);
      }
      if (!good) return error("SCALES: a scale is out of range");
    }
    return {};
  }

  // One f32 per row of every panel and plane.
  Status check_row_scales() {
    const Stream& s = stream(StreamKind::kScales);
    const uint64_t n = uint64_t{t_.groups} * panels_per_group(t_) * kPanelRows * planes_;
    if (s.bits != 32 || s.count != 0 || s.size != 4 * n) return error("SCALES: wrong size");
    const uint8_t* p = file_.stream_data(s);
    for (uint64_t i = 0; i < n; ++i) {
      float scale;
      std::memcpy(&scale, p + 4 * i, 4);
      if (!std::isfinite(scale)) return error("SCALES: a scale is not finite");
    }
    return {};
  }

  // A weight has one value.
  Status check_planes() {
    const Stream& s = stream(StreamKind::kValues);
    if (s.bits != 2 || s.size != t_.entries / 4) return error("VALUES: wrong size");
    const uint8_t* p = file_.stream_data(s);
    const uint64_t plane = 4 * kPanelRows;  // bytes of 32 columns
    for (uint64_t at = 0; at < s.size; at += 2 * plane) {
      for (uint64_t i = 0; i < plane; ++i) {
        if ((p[at + i] & p[at + plane + i]) != 0) return error("VALUES: a weight has both values of its row");
      }
    }
    return {};
  }

  Status check_plain() {
    const Stream& s = stream(StreamKind::kValues);
    const auto values = static_cast<Values>(t_.values);
    int bits = 32;
    switch (values) {
      case Values::kBits:
      case Values::kBinary: bits = 1; break;
      case Values::kTernary: bits = 2; break;
      case Values::kS4:
      case Values::kQ4: bits = 4; break;
      case Values::kS8:
      case Values::kQ8: bits = 8; break;
      case Values::kF16:
      case Values::kI16: bits = 16; break;
      default: break;
    }
    if (s.bits != bits || s.count != 0 || s.size != t_.entries * static_cast<uint64_t>(bits) / 8) {
      return error("VALUES: wrong size");
    }
    return {};
  }

  Status check_book() {
    const Stream& s = stream(StreamKind::kBook);
    if (t_.values == static_cast<uint16_t>(Values::kProduct)) return check_codewords(s);
    const uint8_t bits = t_.values == static_cast<uint16_t>(Values::kS8Book) ? 8 : 32;
    if (s.bits != bits || s.count < 1 || s.count > 256 || s.size != uint64_t{s.count} * bits / 8) {
      return error(std::string("BOOK: needs 1 to 256 ") + (bits == 8 ? "s8" : "f32") + " entries");
    }
    return {};
  }

  Status check_codewords(const Stream& s) {
    if (s.bits != 8 && s.bits != 16 && s.bits != 32) return error("BOOK: bits must be 8, 16 or 32");
    const uint64_t head = s.bits == 8 ? sizeof(float) : 0;
    if (s.count < 1 || s.count > 256 || s.size != head + uint64_t{s.count} * codeword_size(t_) * s.bits / 8) {
      return error("BOOK: needs 1 to 256 codewords");
    }
    if (head == 0) return {};
    float scale;
    std::memcpy(&scale, file_.stream_data(s), sizeof scale);
    if (!(scale >= kMinScale && scale <= kMaxScale)) return error("BOOK: the scale is out of range");
    return {};
  }

  Status check_index() {
    const uint32_t book = stream(StreamKind::kBook).count;
    const Stream& s = stream(StreamKind::kIndex);
    if (s.bits < 1 || s.bits > 8 || book > 1u << s.bits) return error("INDEX: bits must be 1 to 8 and cover the book");
    if (s.coding == 1) {
      return check_huffman(s, book, [](const std::vector<uint8_t>&, uint32_t) { return Status(); });
    }
    const uint64_t packed = (t_.entries * s.bits + 7) / 8;
    if (s.count != 0 || s.size != packed + kGuardBytes) return error("INDEX: wrong size");
    const uint8_t* p = file_.stream_data(s);
    uint64_t tail = 0;
    std::memcpy(&tail, p + packed, 8);
    const uint64_t spare = packed * 8 - t_.entries * s.bits;
    if (tail != 0 || (packed > 0 && p[packed - 1] >> (8 - spare) != 0 && spare > 0)) {
      return error("INDEX: the bits after the last entry are not zero");
    }
    if (book == 1u << s.bits) return {};
    const uint32_t mask = (1u << s.bits) - 1;
    for (uint64_t i = 0, bit = 0; i < t_.entries; ++i, bit += s.bits) {
      uint64_t window;
      std::memcpy(&window, p + bit / 8, 8);
      if (((window >> (bit % 8)) & mask) >= book) return error("INDEX: an index outside the book");
    }
    return {};
  }

  uint64_t chunk_symbols(const Stream& s, uint32_t chunk) const {
    if (csr_) {
      const uint8_t* start = file_.stream_data(stream(StreamKind::kRows)) + 4ull * chunk;
      const uint64_t n = load_u32(start + 4) - load_u32(start);
      return s.kind == static_cast<uint8_t>(StreamKind::kIndex) ? n * block_ : n;
    }
    if (t_.structure == static_cast<uint16_t>(Structure::kRows)) {
      return uint64_t{std::min(t_.panel_rows, t_.rows - chunk * t_.panel_rows)} * row_entries(t_);
    }
    const auto blocks = static_cast<uint32_t>(ceil_div(row_entries(t_), chunk_columns(t_)));
    const uint32_t column = chunk % blocks * chunk_columns(t_);
    return uint64_t{std::min(chunk_columns(t_), row_entries(t_) - column)} * kPanelRows;
  }

  template <class Check>
  Status check_huffman(const Stream& s, uint32_t max_symbol, Check check) {
    const std::string name = s.kind == static_cast<uint8_t>(StreamKind::kCols) ? "COLS: " : "INDEX: ";
    const uint64_t chunks = chunk_count(t_);
    const uint64_t lengths = static_cast<uint64_t>(round_up(ceil_div(s.count, 2), 4));
    const uint64_t fixed = lengths + 4 * (uint64_t{chunks} + 1) + kGuardBytes;
    if (s.count < 2 || s.count > 256 || chunks > INT32_MAX || s.size < fixed)
      return error(name + "Huffman stream too short");
    const uint8_t* bytes = file_.stream_data(s);
    for (uint64_t i = ceil_div(s.count, 2); i < lengths; ++i) {
      if (bytes[i] != 0) return error(name + "padding is not zero");
    }
    if (s.count % 2 == 1 && bytes[s.count / 2] >> 4 != 0) return error(name + "padding is not zero");
    const HuffmanStream h = parse_huffman(s, bytes, static_cast<uint32_t>(chunks));
    if (h.table_bits == 0) return error(name + "the Huffman code is not complete");
    for (uint32_t i = max_symbol; i < s.count; ++i) {
      if (h.lengths[i] != 0) return error(name + "the Huffman code has a symbol outside the book");
    }
    uint64_t tail;
    std::memcpy(&tail, bytes + s.size - 8, 8);
    if (load_u32(h.chunk_offset) != 0 || load_u32(h.chunk_offset + 4ull * chunks) != s.size - fixed || tail != 0) {
      return error(name + "the Huffman chunks do not fill the stream");
    }
    std::vector<HuffmanEntry> entries(size_t{1} << h.table_bits);
    huffman_build_table(h.lengths, h.alphabet, h.table_bits, entries.data());
    std::vector<uint8_t> symbols;
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
      const uint64_t begin = load_u32(h.chunk_offset + 4ull * chunk), end = load_u32(h.chunk_offset + 4ull * chunk + 4);
      const uint64_t n = chunk_symbols(s, chunk);
      const std::string what = name + "Huffman chunk " + std::to_string(chunk);
      if (begin > end || end > s.size - fixed || n > kMaxChunk) return error(what + " out of bounds");
      symbols.resize(n);
      if (!decode({entries.data(), h.table_bits}, h.data + begin, end - begin, &symbols)) {
        return error(what + " does not decode to its symbols");
      }
      PYRT_RETURN_IF_ERROR(check(symbols, chunk));
    }
    return {};
  }

  static bool decode(const HuffmanTable& table, const uint8_t* in, uint64_t size, std::vector<uint8_t>* symbols) {
    const size_t n = symbols->size();
    if (n == 0) return size == 0;
    uint16_t sizes[kHuffmanStrings - 1];
    if (size < sizeof sizes) return false;
    std::memcpy(sizes, in, sizeof sizes);
    in += sizeof sizes;
    size -= sizeof sizes;
    for (int j = 0; j < kHuffmanStrings; ++j) {
      const uint64_t take = j < kHuffmanStrings - 1 ? sizes[j] : size;
      if (take > size) return false;
      const size_t begin = huffman_string_begin(n, j), end = huffman_string_begin(n, j + 1);
      if (!huffman_decode_checked(table, in, take, end - begin, symbols->data() + begin)) return false;
      in += take;
      size -= take;
    }
    return true;
  }

  const File& file_;
  const Tensor& t_;
  std::string where_;
  bool csr_ = false;  // or bcsr
  bool bit_ = false;
  bool book_ = false;  // indices into a codebook or a product codebook
  bool pairs_ = false, ordered_ = false;
  uint32_t planes_ = 0;  // of binary and ternary values: bits of a weight
  uint32_t block_ = 1;
};

}  // namespace

uint32_t codeword_size(const Tensor& t) {
  if (t.values != static_cast<uint16_t>(Values::kProduct)) return 1;
  const bool panels = t.structure == static_cast<uint16_t>(Structure::kPanels);
  const uint64_t rows = panels ? uint64_t{t.groups} * panels_per_group(t) * kPanelRows : t.rows;
  return static_cast<uint32_t>(rows * t.cols / t.entries);
}

uint64_t chunk_count(const Tensor& t) {
  if (t.structure == static_cast<uint16_t>(Structure::kRows)) {
    return static_cast<uint64_t>(ceil_div(t.rows, static_cast<int64_t>(t.panel_rows)));
  }
  const uint64_t panels = uint64_t{t.groups} * panels_per_group(t);
  if (is_sparse(t)) return panels;
  return panels * static_cast<uint64_t>(ceil_div(row_entries(t), chunk_columns(t)));
}

HuffmanStream parse_huffman(const Stream& stream, const uint8_t* bytes, uint32_t chunks) {
  HuffmanStream h{};
  h.alphabet = static_cast<int>(stream.count);
  for (int i = 0; i < h.alphabet; ++i) h.lengths[i] = (bytes[i / 2] >> (i % 2 * 4)) & 15;
  h.table_bits = huffman_table_bits(h.lengths, h.alphabet);
  h.chunks = chunks;
  h.chunk_offset = bytes + round_up(ceil_div(h.alphabet, 2), 4);
  h.data = h.chunk_offset + 4 * (uint64_t{chunks} + 1);
  return h;
}

Status check_tensor(const File& file, uint32_t index) { return TensorCheck(file, index).run(); }

}  // namespace pyrt::format
