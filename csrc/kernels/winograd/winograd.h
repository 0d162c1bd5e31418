// The constants of F(4x4, 3x3): Y = A^T ((G g) * (B^T d)) along each axis, at the points 0, +-2/3, +-3/2 and infinity.
//
// a * b = 1 keeps the numbers small: the largest error is within twice that of the plain sum, a quarter of what the
// usual points 0, +-1, +-2 give (bench/winograd.py).
#pragma once

namespace pyrt {

constexpr int kWinogradTile = 4;                              // rows and columns of output per tile
constexpr int kWinogradIn = 6;                                // rows and columns of input per tile
constexpr int kWinogradProducts = kWinogradIn * kWinogradIn;  // products per tile and channel

constexpr float kWinogradA = 2.0f / 3, kWinogradB = 1.5f;
constexpr float kWinogradA2 = 4.0f / 9, kWinogradB2 = 2.25f;
constexpr float kWinogradA3 = 8.0f / 27, kWinogradB3 = 3.375f;
constexpr float kWinogradSum = 97.0f / 36;   // a^2 + b^2
constexpr float kWinogradGA = -81.0f / 130;  // 1 / (2 a^2 (a^2 - b^2))
constexpr float kWinogradGB = 8.0f / 65;     // 1 / (2 b^2 (b^2 - a^2))

}  // namespace pyrt
