// The windows of a pool2d, for f32 and u8 values.
#pragma once

#include "ops/op.h"

namespace pyrt {

struct PoolWindow {
  int64_t kh = 1, kw = 1, sh = 1, sw = 1, ph = 0, pw = 0, dh = 1, dw = 1;
  bool ceil_mode = false;

  void read(Attrs* attrs) {
    kh = attrs->i32(), kw = attrs->i32();
    sh = attrs->i32(), sw = attrs->i32();
    ph = attrs->i32(), pw = attrs->i32();
    dh = attrs->i32(), dw = attrs->i32();
    ceil_mode = attrs->u32() != 0;
  }

  // Sets the size of the output; returns what is wrong, if anything.
  std::string infer(const Node& x, int64_t* height, int64_t* width) const {
    *height = size(x.height, kh, sh, ph, dh);
    *width = size(x.width, kw, sw, pw, dw);
    if (*height >= 1 && *width >= 1) return {};
    return "an input of " + std::to_string(x.height) + "x" + std::to_string(x.width) + " is smaller than the window";
  }

 private:
  // Torch's rule: with ceil_mode the last window must still start inside the image or its left padding.
  int64_t size(int64_t n, int64_t k, int64_t stride, int64_t pad, int64_t dilation) const {
    const int64_t span = n + 2 * pad - dilation * (k - 1) - 1;
    if (span < 0) return 0;
    int64_t out_size = floor_div(span + (ceil_mode ? stride - 1 : 0), stride) + 1;
    if (ceil_mode && (out_size - 1) * stride >= n + pad) --out_size;
    return out_size;
  }
};

}  // namespace pyrt
