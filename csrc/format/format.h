// The on-disk structures of docs/format.md, byte for byte.
#pragma once

#include <cstdint>

namespace pyrt::format {

constexpr uint8_t kMagic[8] = {0x89, 'P', 'Y', 'R', 'T', 0x0D, 0x0A, 0x1A};
constexpr uint16_t kMajor = 1;
constexpr uint16_t kMinor = 2;
constexpr uint64_t kAlignment = 64;
constexpr int kMaxRank = 6;
constexpr uint32_t kMaxString = 255;
constexpr uint32_t kMaxEntries = 1u << 16;
constexpr uint64_t kMaxSize = 1ull << 48;
constexpr uint32_t kMaxOpTensors = 255;
constexpr uint32_t kPanelRows = 16;
constexpr uint32_t kBitPanelRows = 32;   // of bits
constexpr uint32_t kChunkColumns = 256;  // K block of a Huffman chunk of a panels tensor
constexpr uint32_t kMaxChunk = 65536;    // symbols
constexpr uint32_t kGuardBytes = 8;      // zero bytes after packed and Huffman bits

struct Header {
  uint8_t magic[8];
  uint16_t major;
  uint16_t minor;
  uint32_t section_table_crc;
  uint64_t file_size;
  uint32_t section_count;
  uint8_t reserved[32];
  uint32_t header_crc;
};
static_assert(sizeof(Header) == 64);

enum class SectionKind : uint32_t { kStrings = 1, kSymbols, kValues, kWords, kOps, kTensors, kStreams };
constexpr uint32_t kSectionCount = 7;

struct Section {
  uint32_t kind;
  uint32_t crc;
  uint64_t offset;
  uint64_t size;
  uint32_t count;
  uint32_t reserved;
};
static_assert(sizeof(Section) == 32);

struct Symbol {
  uint32_t name;
  uint32_t min;
  uint32_t max;
  uint32_t reserved;
};
static_assert(sizeof(Symbol) == 16);

enum class Dtype : uint8_t { kF32 = 1, kU8 = 2, kI32 = 3, kI64 = 4, kBits = 5 };
inline bool is_integer_input(Dtype d) { return d == Dtype::kI32 || d == Dtype::kI64; }
enum class Role : uint8_t { kInternal = 0, kInput = 1, kOutput = 2 };

struct Value {
  uint32_t name;
  uint8_t dtype;
  uint8_t rank;
  int8_t channel_axis;
  uint8_t role;
  uint32_t dims;
  uint32_t quant;  // u8: words f32 scale, u32 zero point; f32: 0
};
static_assert(sizeof(Value) == 16);

struct Op {
  uint16_t kind;
  uint8_t inputs;
  uint8_t outputs;
  uint16_t tensors;
  uint16_t reserved0;
  uint32_t name;
  uint32_t source;
  uint32_t operands;
  uint32_t attrs;
  uint32_t attr_count;
  uint32_t reserved1;
};
static_assert(sizeof(Op) == 32);

enum class Structure : uint16_t { kRows = 1, kPanels = 2, kCsr = 3, kBcsr = 4, kBcsr8 = 5, kBcsr16 = 6, kPairs = 7 };
enum class Values : uint16_t {
  kF32 = 1,
  kCodebook = 2,
  kF16 = 3,
  kS8 = 4,
  kI32 = 5,
  kS4 = 6,
  kBits = 7,
  kQ8 = 8,
  kQ4 = 9,
  kProduct = 10,
  kBinary = 11,
  kTernary = 12,
  kI16 = 13,
  kS8Book = 14
};
constexpr uint32_t kMaxCodeword = 64;  // weights of a codeword of a product codebook
// Scales keep their reciprocals and products in the range of f32.
constexpr float kMinScale = 0x1p-100f;
constexpr float kMaxScale = 0x1p100f;
constexpr float kMinMultiplier = 0x1p-80f;
constexpr float kMaxMultiplier = 0x1p80f;
constexpr int32_t kMaxInteger = 1 << 24;   // integer inputs become f32 exactly
constexpr int64_t kMaxBitColumns = 32736;  // a sum of bits fits 16 bits
constexpr uint32_t kScaleColumns = 32;     // columns that share a scale of q8 and q4 come in so many
constexpr uint32_t kBitColumns = 32;       // columns of binary and ternary values come in so many
constexpr uint32_t kQuad = 4;              // channels that share a group of an integer activation

struct Tensor {
  uint32_t name;
  uint16_t structure;
  uint16_t values;
  uint32_t rows;
  uint32_t cols;
  uint32_t groups;
  uint32_t panel_rows;
  uint32_t first_stream;
  uint32_t stream_count;
  uint64_t entries;
  uint64_t parameters;
};
static_assert(sizeof(Tensor) == 48);

enum class StreamKind : uint8_t { kValues = 1, kBook, kIndex, kRows, kCols, kScales, kOrder, kPlaces };
enum class Coding : uint8_t { kRaw = 0, kHuffman = 1 };

struct Stream {
  uint64_t offset;
  uint64_t size;
  uint32_t crc;
  uint8_t kind;
  uint8_t coding;
  uint8_t bits;
  uint8_t reserved0;
  uint32_t count;
  uint32_t reserved1;
};
static_assert(sizeof(Stream) == 32);

}  // namespace pyrt::format
