// An activation while a plan is made and run: its logical shape, and where its columns lie.
//
// A plane holds one channel: `front` zeros, then images x height x width columns with row pitch and image pitch, then
// zeros again. The right gap of a row is the left gap of the next, the gap below an image the one above the next. Nodes
// that share a grid have the same pitches, so that a stride-1 convolution, an elementwise op or a concat is a plain
// loop over columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/math.h"
#include "kernels/kernels.h"

namespace pyrt {

constexpr int kRankMax = 6;

// Zeros that some consumer reads around every image.
struct Halo {
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  bool any() const { return top | left | bottom | right; }
  void widen(const Halo& o) {
    top = std::max(top, o.top);
    left = std::max(left, o.left);
    bottom = std::max(bottom, o.bottom);
    right = std::max(right, o.right);
  }
};

struct Node {
  const char* name = "";
  int rank = 0;
  int axis = -1;  // of the channels; -1: one channel
  int64_t dims[kRankMax] = {};

  // An integer activation keeps four channels in a column of 4 bytes; a plane then holds four channels. It stands for
  // scale * (q - zero), and its gaps and margins hold `zero`.
  bool u8 = false;
  // One of bits keeps 32 channels in a column of 4 bytes: +1 where the bit is set, else -1, as in its gaps.
  bool bits = false;
  uint8_t zero = 0;
  float scale = 0.0f;

  // Set by set_shape.
  int64_t channels = 1, images = 1, height = 1, width = 1;

  // Set while ops state their constraints.
  Halo halo;
  Node* grid = this;        // union-find parent of nodes that share a grid
  Node* storage = nullptr;  // the node whose memory this one lies in, or null
  int64_t channel = 0;      // first channel there
  bool in_place = false;    // written over `storage`, whose gaps are zero already
  bool shared = false;      // other nodes are parts of this one
  int consumers = 0;        // ops that read it, and 1 for a graph output
  bool external = false;    // laid out as the caller's arrays are, and may lie in one

  // Set by the planner.
  int64_t pitch = 0, image = 0, plane = 0, front = 0;  // in floats
  int64_t cols = 0;                                    // last column + 1
  int64_t written = 0;                                 // columns that a kernel may write: cols, or rounded up to 16
  const uint8_t* mask = nullptr;                       // a bit per column when gaps must stay zero, else null
  float* data = nullptr;                               // channel 0, column 0

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void set_shape(int new_rank, const int64_t* new_dims, int new_axis) {
    rank = new_rank;
    axis = new_axis;
    std::copy(new_dims, new_dims + new_rank, dims);
    channels = axis >= 0 ? dims[axis] : 1;
    images = height = width = 1;
    if (spatial()) {
      images = dims[0];
      height = dims[2];
      width = dims[3];
    } else {
      for (int d = 0; d < rank; ++d) {
        // The planner refuses a shape that overflows, but only after this.
        if (d != axis && !checked_mul(width, dims[d], &width)) width = INT64_MAX;
      }
    }
  }
  // Images of rows of pixels; every other shape is one row of columns.
  bool spatial() const { return rank == 4 && axis == 1; }
  bool packed() const { return u8 || bits; }
  int64_t lanes() const { return u8 ? 4 : bits ? 32 : 1; }  // channels in a column
  int64_t planes() const { return ceil_div(channels, lanes()); }
  int64_t elements() const { return channels * images * height * width; }
  bool same_dims(const Node& o) const {
    return rank == o.rank && axis == o.axis && std::equal(dims, dims + rank, o.dims);
  }

  // Plane c: a channel, or four of an integer activation, whose bytes these are.
  float* row(int64_t c) const { return data + c * plane; }
  float* row(int64_t c, int64_t n, int64_t h) const { return data + c * plane + n * image + h * pitch; }

  uint8_t* bytes(int64_t p) const { return reinterpret_cast<uint8_t*>(row(p)); }
  uint8_t* bytes(int64_t p, int64_t n, int64_t h) const { return reinterpret_cast<uint8_t*>(row(p, n, h)); }

  // Distance in floats between neighbours along each logical dimension.
  void strides(int64_t* out) const {
    if (spatial()) {
      out[0] = image;
      out[1] = plane;
      out[2] = pitch;
      out[3] = 1;
      return;
    }
    int64_t step = 1;
    for (int d = rank - 1; d >= 0; --d) {
      out[d] = d == axis ? plane : step;
      if (d != axis) step *= dims[d];
    }
  }

  // Strides of a C-contiguous array of these dims.
  void logical_strides(int64_t* out) const {
    int64_t step = 1;
    for (int d = rank - 1; d >= 0; --d) out[d] = step, step *= dims[d];
  }

  // Zeros the gaps and margins of planes [begin, end), and what lies there of the image.
  void clear(int64_t begin, int64_t end) const {
    for (int64_t c = begin; c < end; ++c) std::memset(row(c) - front, zero, static_cast<size_t>(plane) * sizeof(float));
  }
  // Zeros what lies around the columns; a masked kernel then leaves the gaps between them zero.
  void clear_margins(int64_t begin, int64_t end) const {
    for (int64_t c = begin; c < end; ++c) {
      std::memset(row(c) - front, zero, static_cast<size_t>(front) * sizeof(float));
      std::memset(row(c) + cols, zero, static_cast<size_t>(plane - front - cols) * sizeof(float));
    }
  }  // The same and the gaps between images, for kernels that write rows of pixels and the gaps behind them.
  void clear_around(int64_t begin, int64_t end) const {
    clear_margins(begin, end);
    for (int64_t c = begin; c < end; ++c) {
      for (int64_t n = 0; n + 1 < images; ++n) {
        std::memset(row(c, n, height), 0, static_cast<size_t>(image - height * pitch) * sizeof(float));
      }
    }
  }
};

}  // namespace pyrt
