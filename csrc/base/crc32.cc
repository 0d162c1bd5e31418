#include "base/crc32.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

namespace pyrt {
namespace {

// Slicing by 8 (Kounavis and Berry, 2005): table[k][b] is byte b followed by k zero bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  Tables t{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320u : 0);
    t[0][b] = crc;
  }
  for (uint32_t b = 0; b < 256; ++b)
    for (int k = 1; k < 8; ++k) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xff];
  return t;
}

constexpr Tables kTables = make_tables();

uint32_t update_portable(uint32_t crc, const uint8_t* p, size_t n) {
#if defined(__ARM_FEATURE_CRC32)
  for (; n >= 8; n -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = __crc32d(crc, word);
  }
#else
  for (; n >= 8; n -= 8, p += 8) {
    uint32_t low, high;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^ kTables[5][(low >> 16) & 0xff] ^
          kTables[4][low >> 24] ^ kTables[3][high & 0xff] ^ kTables[2][(high >> 8) & 0xff] ^
          kTables[1][(high >> 16) & 0xff] ^ kTables[0][high >> 24];
  }
#endif
  for (; n > 0; --n, ++p) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
  return crc;
}

#if defined(__x86_64__)

bool has_clmul() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

// Folding by carry-less multiplication (Gopal et al., "Fast CRC Computation Using PCLMULQDQ", Intel 2009): four
// 128-bit lanes are each moved 512 bits ahead per step; the constants are x^n mod P, bit-reflected. The lanes are
// then folded into one, and its 16 bytes go through the table, which spares the Barrett reduction.
__attribute__((target("pclmul,sse4.1"))) uint32_t update_clmul(uint32_t crc, const uint8_t* p, size_t n) {
  const __m128i k512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);  // x^(512-32), x^(512+32)
  const __m128i k128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);  // x^(128-32), x^(128+32)
  auto load = [](const uint8_t* q) __attribute__((target("pclmul,sse4.1"))) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(q));
  };
  __m128i lane[4];
  for (int i = 0; i < 4; ++i) lane[i] = load(p + 16 * i);
  lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
  p += 64;
  n -= 64;
  for (; n >= 64; n -= 64, p += 64) {
    for (int i = 0; i < 4; ++i) {
      const __m128i low = _mm_clmulepi64_si128(lane[i], k512, 0x00);
      const __m128i high = _mm_clmulepi64_si128(lane[i], k512, 0x11);
      lane[i] = _mm_xor_si128(_mm_xor_si128(low, high), load(p + 16 * i));
    }
  }
  __m128i x = lane[0];
  for (int i = 1; i < 4; ++i) {
    const __m128i low = _mm_clmulepi64_si128(x, k128, 0x00);
    const __m128i high = _mm_clmulepi64_si128(x, k128, 0x11);
    x = _mm_xor_si128(_mm_xor_si128(low, high), lane[i]);
  }
  alignas(16) uint8_t rest[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(rest), x);
  return update_portable(update_portable(0, rest, 16), p, n);
}

#endif

}  // namespace

uint32_t crc32(const void* data, size_t size) {
  const auto* p = static_cast<const uint8_t*>(data);
#if defined(__x86_64__)
  static const bool clmul = has_clmul();
  if (clmul && size >= 64) return ~update_clmul(~0u, p, size);
#endif
  return ~update_portable(~0u, p, size);
}

}  // namespace pyrt
