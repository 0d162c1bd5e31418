// The geometry of a convolution, and of the phases that a strided one splits its input into.
//
// Rows i*sh + r of the input are row i of phase r; tap i of output row o reads row o + row_shift(i) of phase
// row_phase(i), so that on the phases the stride is 1. Columns likewise.
#pragma once

#include "base/math.h"
#include "ops/op.h"

namespace pyrt {

struct ConvShape {
  int64_t kh = 1, kw = 1, sh = 1, sw = 1, dh = 1, dw = 1;
  Halo pad;

  void read(Attrs* attrs) {
    kh = attrs->i32(), kw = attrs->i32();
    sh = attrs->i32(), sw = attrs->i32();
    pad.top = attrs->i32(), pad.left = attrs->i32(), pad.bottom = attrs->i32(), pad.right = attrs->i32();
    dh = attrs->i32(), dw = attrs->i32();
  }

  int64_t taps() const { return kh * kw; }
  bool strided() const { return sh > 1 || sw > 1; }
  int64_t out_height(int64_t height) const {
    return floor_div(height + pad.top + pad.bottom - dh * (kh - 1) - 1, sh) + 1;
  }
  int64_t out_width(int64_t width) const { return floor_div(width + pad.left + pad.right - dw * (kw - 1) - 1, sw) + 1; }

  int64_t row_shift(int64_t i) const { return floor_div(i * dh - pad.top, sh); }
  int64_t col_shift(int64_t j) const { return floor_div(j * dw - pad.left, sw); }

  // Phases that taps read: a single tap reads a single one.
  int64_t phases_h() const { return kh == 1 ? 1 : sh; }
  int64_t phases_w() const { return kw == 1 ? 1 : sw; }
  int64_t phases() const { return phases_h() * phases_w(); }
  // The first row of the input in the p-th phase kept, and the number of the phase that a tap reads.
  int64_t row_of_phase(int64_t p) const { return kh == 1 ? floor_mod(-pad.top, sh) : p; }
  int64_t col_of_phase(int64_t p) const { return kw == 1 ? floor_mod(-pad.left, sw) : p; }
  int64_t row_phase(int64_t i) const { return kh == 1 ? 0 : floor_mod(i * dh - pad.top, sh); }
  int64_t col_phase(int64_t j) const { return kw == 1 ? 0 : floor_mod(j * dw - pad.left, sw); }
  int64_t phase(int64_t i, int64_t j) const { return row_phase(i) * phases_w() + col_phase(j); }

 private:
  static int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }
};

}  // namespace pyrt
