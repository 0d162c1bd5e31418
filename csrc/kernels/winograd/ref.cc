#include <algorithm>

#include "kernels/ref.h"
#include "kernels/winograd/winograd.h"

namespace pyrt {
namespace {

const double kA = 2.0 / 3, kB = 1.5;

// B^T, A^T and G of winograd.h.
const double kForward[6][6] = {{1, 0, -kA * kA - kB * kB, 0, 1, 0}, {0, -kB, -kB * kB, kA, 1, 0},
                               {0, kB, -kB * kB, -kA, 1, 0},        {0, -kA, -kA * kA, kB, 1, 0},
                               {0, kA, -kA * kA, -kB, 1, 0},        {0, 1, 0, -kA * kA - kB * kB, 0, 1}};
const double kBackward[4][6] = {{1, 1, 1, 1, 1, 0},
                                {0, kA, -kA, kB, -kB, 0},
                                {0, kA * kA, kA * kA, kB * kB, kB * kB, 0},
                                {0, kA * kA * kA, -kA * kA * kA, kB * kB * kB, -kB * kB * kB, 1}};
const double kGA = 1 / (2 * kA * kA * (kA * kA - kB * kB)), kGB = 1 / (2 * kB * kB * (kB * kB - kA * kA));
const double kWeight[6][3] = {{1, 0, 0},
                              {kGA, kGA * kA, kGA * kA * kA},
                              {kGA, -kGA * kA, kGA * kA * kA},
                              {kGB, kGB * kB, kGB * kB * kB},
                              {kGB, -kGB * kB, kGB * kB * kB},
                              {0, 0, 1}};

// out = T in T^T
template <int Out, int In>
void both_axes(const double (&t)[Out][In], const double (&in)[In][In], double (&out)[Out][Out]) {
  double half[Out][In] = {};
  for (int i = 0; i < Out; ++i)
    for (int j = 0; j < In; ++j)
      for (int k = 0; k < In; ++k) half[i][j] += t[i][k] * in[k][j];
  for (int i = 0; i < Out; ++i)
    for (int j = 0; j < Out; ++j) {
      out[i][j] = 0;
      for (int k = 0; k < In; ++k) out[i][j] += t[j][k] * half[i][k];
    }
}

}  // namespace

void winograd_weights_f32__ref(const WinogradWeightsArgs& a) {
  for (int c = 0; c < a.channels; ++c) {
    for (int r = 0; r < kPanel; ++r) {
      double g[3][3], out[6][6];
      for (int t = 0; t < 9; ++t) g[t / 3][t % 3] = static_cast<double>(a.w[(c * 9 + t) * kPanel + r]);
      both_axes(kWeight, g, out);
      for (int f = 0; f < 36; ++f) a.u[f * a.u_stride + c * kPanel + r] = static_cast<float>(out[f / 6][f % 6]);
    }
  }
}

void winograd_input_f32__ref(const WinogradInputArgs& a) {
  for (int col = 0; col < a.groups * kWinogradStrip; ++col) {
    const WinogradStrip& s = a.strips[col / 16 * 4 + col % 4];
    const int first = col % 16 / 4 * kWinogradTile;
    double d[6][6], out[6][6];
    for (int i = 0; i < 6; ++i) {
      for (int j = 0; j < 6; ++j) {
        const bool inside = i < s.in_rows && first + j < s.in_cols;
        d[i][j] = inside ? static_cast<double>(a.x[s.x + i * a.pitch + first + j]) : 0.0;
      }
    }
    both_axes(kForward, d, out);
    for (int f = 0; f < 36; ++f) a.u[f * a.u_stride + col] = static_cast<float>(out[f / 6][f % 6]);
  }
}

void winograd_output_f32__ref(const WinogradOutputArgs& a) {
  for (int row = 0; row < a.rows; ++row) {
    for (int col = 0; col < a.groups * kWinogradStrip; ++col) {
      const WinogradStrip& s = a.strips[col / 16 * 4 + col % 4];
      const int first = col % 16 / 4 * kWinogradTile;
      const bool last = first == kWinogradStrip - kWinogradTile;  // writes a gap past the strip's end, too
      double m[6][6], out[4][4];
      for (int f = 0; f < 36; ++f) m[f / 6][f % 6] = static_cast<double>(a.m[f * a.m_stride + row * a.m_row + col]);
      // Not `both_axes`: this transform is not square.
      for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
          out[i][j] = 0;
          for (int f = 0; f < 36; ++f) out[i][j] += kBackward[i][f / 6] * kBackward[j][f % 6] * m[f / 6][f % 6];
        }
      }
      for (int i = 0; i < s.out_rows; ++i) {
        for (int c = first; c < (last ? s.out_cols + s.gap : std::min(first + 4, s.out_cols + s.gap)); ++c) {
          const int at = static_cast<int>(s.y + i * a.pitch + c);
          float* y = a.y + row * a.y_stride + at;
          *y = c < s.out_cols ? ref_finish(a.epilogue, out[i][c - first], row, at, a.y_stride) : 0.0f;
        }
      }
    }
  }
}

}  // namespace pyrt
