// Opens files that may be anything, as an attacker's victim would: run it under sanitizers.
//
//   load_file FILE...               loads each and infers on zeros; prints `OK` or the error, a line per file
//   load_file --mutate N SEED FILE  the same for N damaged copies of FILE in memory, half of them with valid CRCs
//
// Exits with 0 whatever the files hold.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/crc32.h"
#include "format/format.h"
#include "runtime/session.h"

namespace {

using namespace pyrt;

constexpr int64_t kMaxInput = 1 << 22;   // floats; larger ones are not tried
constexpr size_t kMaxArena = 256 << 20;  // bytes; what needs more is planned but not run

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// Infers on zeros with every dynamic dimension at its minimum plus `extra`; "OK" or the error.
std::string infer(Model* model, int64_t extra) {
  std::vector<std::vector<float>> zeros;
  std::vector<Array> inputs;
  for (uint32_t i : model->inputs()) {
    Array array{nullptr, {}};
    int64_t n = 1;
    for (int32_t code : model->values()[i].dims) {
      int64_t dim = code;
      if (code < 0) {
        const format::Symbol& s = model->file().symbol(static_cast<uint32_t>(-1 - code));
        dim = std::min<int64_t>(s.min + extra, s.max);
      }
      array.dims.push_back(dim);
      if (!checked_mul(n, dim, &n) || n > kMaxInput) n = kMaxInput + 1;
    }
    if (n <= kMaxInput) {
      zeros.emplace_back(static_cast<size_t>(2 * n), 0.0f);  // 8 bytes each, for i64
      array.data = zeros.back().data();
      array.dtype = model->values()[i].dtype;
    }
    inputs.push_back(array);
  }
  Session session(model);
  Status status = session.plan(inputs);
  if (!status.ok()) return status.message();
  const bool try_it = zeros.size() == inputs.size() && session.current().arena_bytes() <= kMaxArena;
  if (!try_it) return "OK, but too large to try";
  status = session.run(inputs);
  if (!status.ok()) return status.message();
  for (size_t i = 0; i < model->outputs().size(); ++i) {
    int64_t n = 1;
    for (int64_t dim : session.output_dims(i)) n *= dim;
    std::vector<float> y(static_cast<size_t>(n));
    session.read_output(i, y.data());
  }
  return "OK";
}

std::string try_model(const Status& opened, Model* model) {
  if (!opened.ok()) return opened.message();
  const std::string smallest = infer(model, 0);
  return smallest == "OK" ? infer(model, 2) : smallest;
}

std::string try_file(const char* path) {
  std::unique_ptr<Model> model;
  const Status status = Model::open(path, 2, &model);
  return try_model(status, model.get());
}

// In a buffer of exactly its size, so that a sanitizer sees every byte read past the end.
std::string try_bytes(const std::vector<uint8_t>& bytes) {
  void* buffer = nullptr;
  if (posix_memalign(&buffer, format::kAlignment, std::max<size_t>(bytes.size(), 1)) != 0) std::abort();
  const std::unique_ptr<void, Free> owner(buffer);
  std::copy(bytes.begin(), bytes.end(), static_cast<uint8_t*>(buffer));
  std::unique_ptr<Model> model;
  const Status status = Model::open_memory(buffer, bytes.size(), 1, &model);
  return try_model(status, model.get());
}

// Makes every CRC right that can be found, so that what lies behind the CRC checks is reached.
void seal(std::vector<uint8_t>* bytes) {
  using namespace format;
  uint8_t* const data = bytes->data();
  const size_t size = bytes->size(), table_end = sizeof(Header) + kSectionCount * sizeof(Section);
  if (size < table_end) return;
  const auto inside = [size](uint64_t offset, uint64_t n) { return offset <= size && n <= size - offset; };
  Section sections[kSectionCount];
  std::memcpy(sections, data + sizeof(Header), sizeof sections);
  const Section& streams = sections[kSectionCount - 1];
  for (uint64_t i = 0; i < streams.size / sizeof(Stream) && inside(streams.offset, streams.size); ++i) {
    Stream s;
    uint8_t* const at = data + streams.offset + i * sizeof s;
    std::memcpy(&s, at, sizeof s);
    if (!inside(s.offset, s.size)) continue;
    s.crc = crc32(data + s.offset, s.size);
    std::memcpy(at, &s, sizeof s);
  }
  for (Section& s : sections) {
    if (inside(s.offset, s.size)) s.crc = crc32(data + s.offset, s.size);
  }
  std::memcpy(data + sizeof(Header), sections, sizeof sections);
  Header header;
  std::memcpy(&header, data, sizeof header);
  header.file_size = size;
  header.section_table_crc = crc32(data + sizeof(Header), sizeof sections);
  std::memcpy(data, &header, sizeof header);
  header.header_crc = crc32(data, offsetof(Header, header_crc));
  std::memcpy(data, &header, sizeof header);
}

std::vector<uint8_t> mutate(std::vector<uint8_t> bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&random](size_t n) { return static_cast<size_t>(random() % n); };
  const bool sealed = below(8) != 0;
  for (size_t edits = 1 + below(3); edits > 0 && !bytes.empty(); --edits) {
    // Tables come first and are small, weights are many: look at both.
    const size_t at = below(below(2) ? bytes.size() : std::min<size_t>(bytes.size(), 4096));
    switch (below(12)) {
      case 0:
        if (!sealed || below(8) == 0) bytes.resize(at);
        break;
      case 1: bytes[at] = static_cast<uint8_t>(random()); break;
      case 2: bytes[at] = 0xff; break;
      case 3: bytes[at] = 0; break;
      case 4: {
        const size_t n = std::min(below(64) + 1, bytes.size() - at);
        std::memmove(&bytes[at], &bytes[below(bytes.size() - n + 1)], n);
        break;
      }
      case 5:
      case 6: {
        // A word that is an edge of some range.
        const uint32_t edges[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 1u << 20, 1u << 16, 0x7f800000};
        uint32_t word = edges[below(8)];
        const size_t aligned = at / 4 * 4;
        if (aligned + 4 <= bytes.size()) std::memcpy(&bytes[aligned], &word, 4);
        break;
      }
      case 7:
      case 8: {
        const size_t aligned = at / 4 * 4;
        uint32_t word;
        if (aligned + 4 > bytes.size()) break;
        std::memcpy(&word, &bytes[aligned], 4);
        word += below(2) ? 1 : 0xffffffff;
        std::memcpy(&bytes[aligned], &word, 4);
        break;
      }
      default: bytes[at] = static_cast<uint8_t>(bytes[at] ^ 1u << below(8)); break;
    }
  }
  if (sealed) seal(&bytes);
  return bytes;
}

uint64_t current_seed = 0;

}  // namespace

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_set_death_callback(void (*)());
#endif

int main(int argc, char** argv) {
  if (argc == 5 && std::strcmp(argv[1], "--mutate") == 0) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_set_death_callback([] {
      std::fprintf(stderr, "run again: load_file --mutate 1 %llu FILE\n",
                   static_cast<unsigned long long>(current_seed));
    });
#endif
    std::ifstream in(argv[4], std::ios::binary);
    const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(in), {}};
    const uint64_t seed = std::strtoull(argv[3], nullptr, 10), count = std::strtoull(argv[2], nullptr, 10);
    uint64_t ran = 0;
    for (uint64_t i = 0; i < count; ++i) {
      current_seed = seed + i;
      const std::string result = try_bytes(mutate(bytes, current_seed));
      ran += result == "OK";
      if (count == 1) std::printf("%s\n", result.c_str());
    }
    if (count > 1)
      std::printf("%llu mutations, %llu ran\n", static_cast<unsigned long long>(count),
                  static_cast<unsigned long long>(ran));
    return 0;
  }
  for (int i = 1; i < argc; ++i) std::printf("%s\n", try_file(argv[i]).c_str());
  return 0;
}
