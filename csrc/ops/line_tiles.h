// Tiles of a sparse convolution that are lines: 8 or 16 columns of several rows of an image.
//
// Taps that differ by whole rows of the image then meet the same lines of X, and those that differ by up to 8 columns
// the same as well if a tile is 8 columns wide, since 16 are copied: of a 3x3 convolution, a tile of 8 rows copies
// and reads 10 lines of each channel rather than 9 x 8 (docs/decisions/csr-blocks.md).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/cpu.h"
#include "ops/conv.h"

namespace pyrt {

class LineTiles {
 public:
  static constexpr int64_t kCopied = 16;  // columns of a copied line

  LineTiles() = default;
  // line: columns of a tile, 8 or 16.
  LineTiles(const ConvGeometry& geometry, const Node& source, const Node& out, int64_t line, Isa isa)
      : line_(line), out_(&out) {
    const bool whole = line == kCopied || (isa_includes(isa, Isa::kAvx512) && whole_vectors_512());
    line_cost_ = whole ? 1 : 0.5;
    const int64_t planes = geometry.strided() ? geometry.phases() : 1;
    channel_ = planes * source.plane, pitch_ = source.pitch;
    for (int64_t i = 0; i < geometry.kh; ++i) {
      for (int64_t j = 0; j < geometry.kw; ++j) {
        const int64_t plane = geometry.strided() ? geometry.phase(i, j) * source.plane : 0;
        const int64_t row = geometry.row_shift(i), col = geometry.col_shift(j);
        const auto stream = std::find_if(streams_.begin(), streams_.end(), [&](const Stream& s) {
          return s.plane == plane && col - s.col <= kCopied - line;  // shifts of columns grow
        });
        taps_.push_back({stream - streams_.begin(), row, col});
        if (stream == streams_.end()) streams_.push_back({plane, col, row, row});
        else stream->last = std::max(stream->last, row);
      }
    }
  }

  int64_t line() const { return line_; }
  int64_t most_rows() const { return line_ == kCopied ? 6 : 8; }  // of a tile; more are no faster
  double line_cost() const { return line_cost_; }                 // of an entry, where one of 16 columns takes 1
  int64_t taps() const { return static_cast<int64_t>(taps_.size()); }
  // Of a channel, for a tile of that many rows.
  int64_t lines(int64_t rows) const {
    int64_t n = 0;
    for (const Stream& s : streams_) n += rows + s.last - s.first;
    return n;
  }
  int64_t pieces() const { return ceil_div(out_->width, line_); }  // tiles beside each other
  int64_t bands(int64_t rows) const { return ceil_div(out_->height, rows); }
  int64_t tiles(int64_t rows) const { return out_->images * bands(rows) * pieces(); }

  // Where the copied lines of `channels` channels start in X, for tiles of `rows` rows of which `held` are in the
  // image: the lines of others are copies of the last.
  std::vector<int32_t> sources(int64_t channels, int64_t rows, int64_t held) const {
    std::vector<int32_t> found;
    for (int64_t c = 0; c < channels; ++c) {
      for (const Stream& s : streams_) {
        for (int64_t i = 0; i < rows + s.last - s.first; ++i) {
          const int64_t row = s.first + std::min(i, held - 1 + s.last - s.first);
          found.push_back(static_cast<int32_t>(c * channel_ + s.plane + s.col + row * pitch_));
        }
      }
    }
    return found;
  }
  // Where the first line of every column of W lies in the copy.
  std::vector<int32_t> offsets(int64_t channels, int64_t rows) const {
    std::vector<int32_t> first, found;
    int64_t line = 0;
    for (const Stream& s : streams_) first.push_back(static_cast<int32_t>(line)), line += rows + s.last - s.first;
    for (int64_t c = 0; c < channels; ++c) {
      for (const Tap& t : taps_) {
        const auto& s = streams_[static_cast<size_t>(t.stream)];
        const int64_t at = c * line + first[static_cast<size_t>(t.stream)] + t.row - s.first;
        found.push_back(static_cast<int32_t>(at * kCopied + t.col - s.col));
      }
    }
    return found;
  }

 private:
  struct Stream {
    int64_t plane, col, first, last;  // where it starts in a channel; rows by which its taps are shifted
  };
  struct Tap {
    int64_t stream, row, col;
  };
  int64_t line_ = kCopied;
  double line_cost_ = 1;
  const Node* out_ = nullptr;
  int64_t channel_ = 0, pitch_ = 0;
  std::vector<Stream> streams_;
  std::vector<Tap> taps_;
};

}  // namespace pyrt
