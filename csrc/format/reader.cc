#include "format/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/crc32.h"
#include "base/math.h"

namespace pyrt::format {
namespace {

const char* section_name(uint32_t kind) {
  static const char* const names[] = {"?", "STRINGS", "SYMBOLS", "VALUES", "WORDS", "OPS", "TENSORS", "STREAMS"};
  return names[kind <= kSectionCount ? kind : 0];
}

// Bytes per entry of each section.
uint64_t entry_size(uint32_t kind) {
  static const uint64_t sizes[] = {0, 1, sizeof(Symbol), sizeof(Value), 4, sizeof(Op), sizeof(Tensor), sizeof(Stream)};
  return sizes[kind];
}

bool all_zero(const uint8_t* p, const uint8_t* end) {
  return std::all_of(p, end, [](uint8_t b) { return b == 0; });
}

uint64_t align(uint64_t offset) { return (offset + kAlignment - 1) & ~(kAlignment - 1); }

std::string number(uint64_t n) { return std::to_string(n); }

// Unicode 15, table 3-7: no overlong forms, no surrogates, at most U+10FFFF.
bool valid_utf8(const uint8_t* p, uint64_t size) {
  for (uint64_t i = 0; i < size;) {
    const uint8_t lead = p[i++];
    if (lead < 0x80) continue;
    const int more = lead < 0xc2 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
    if (more == 0 || size - i < static_cast<uint64_t>(more)) return false;
    const uint8_t low = lead == 0xe0   ? 0xa0
                        : lead == 0xf0 ? 0x90
                                       : 0x80,
                  high = lead == 0xed   ? 0x9f
                         : lead == 0xf4 ? 0x8f
                                        : 0xbf;
    if (p[i] < low || p[i] > high) return false;
    for (int k = 1; k < more; ++k) {
      if (p[i + static_cast<uint64_t>(k)] >> 6 != 2) return false;
    }
    i += static_cast<uint64_t>(more);
  }
  return true;
}

}  // namespace

File::~File() {
  if (mapped_) munmap(const_cast<uint8_t*>(data_), size_);
}

Status File::open(const char* path) {
  // O_NONBLOCK: a named pipe must not wait for a writer before it is refused.
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const Code code = errno == ENOENT ? Code::kNotFound : Code::kIo;
    return {code, std::string(path) + ": " + std::strerror(errno)};
  }
  struct stat info;
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  if (!regular || info.st_size < static_cast<off_t>(sizeof(Header))) {
    ::close(fd);
    if (!regular) return {Code::kIo, std::string(path) + ": not a regular file"};
    return invalid_file(std::string(path) + ": header: a .pyrt file has at least 64 bytes, this one has " +
                        number(static_cast<uint64_t>(info.st_size)));
  }
  size_ = static_cast<size_t>(info.st_size);
  void* map = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
  const int map_errno = errno;
  ::close(fd);
  if (map == MAP_FAILED) return {Code::kIo, std::string(path) + ": mmap: " + std::strerror(map_errno)};
  data_ = static_cast<const uint8_t*>(map);
  mapped_ = true;
  madvise(map, size_, MADV_WILLNEED);
  Status status = validate();
  if (!status.ok()) return {status.code(), std::string(path) + ": " + status.message()};
  return status;
}

Status File::open_memory(const void* data, size_t size) {
  data_ = static_cast<const uint8_t*>(data);
  size_ = size;
  if (size < sizeof(Header)) {
    return invalid_file("header: a .pyrt file has at least 64 bytes, this buffer has " + number(size));
  }
  if (reinterpret_cast<uintptr_t>(data) % kAlignment != 0) {
    return invalid_argument("the buffer of a model must be 64-byte aligned");
  }
  return validate();
}

const Section& File::section(SectionKind kind) const {
  return reinterpret_cast<const Section*>(data_ + sizeof(Header))[static_cast<uint32_t>(kind) - 1];
}

const Stream* File::find_stream(const Tensor& t, StreamKind kind) const {
  for (uint32_t i = 0; i < t.stream_count; ++i) {
    const Stream& s = stream(t.first_stream + i);
    if (s.kind == static_cast<uint8_t>(kind)) return &s;
  }
  return nullptr;
}

Status File::validate() {
  PYRT_RETURN_IF_ERROR(check_layout());
  PYRT_RETURN_IF_ERROR(check_strings());
  PYRT_RETURN_IF_ERROR(check_values());
  PYRT_RETURN_IF_ERROR(check_ops());
  PYRT_RETURN_IF_ERROR(check_streams());
  for (uint32_t i = 0; i < tensor_count(); ++i) PYRT_RETURN_IF_ERROR(check_tensor(*this, i));
  return {};
}

Status File::check_layout() {
  const auto& header = *reinterpret_cast<const Header*>(data_);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return invalid_file("header: not a .pyrt file (wrong magic bytes)");
  }
  if (crc32(data_, 60) != header.header_crc) return invalid_file("header: CRC mismatch, the file is damaged");
  if (header.major != kMajor || header.minor > kMinor) {
    return invalid_file("header: format version " + number(header.major) + "." + number(header.minor) +
                        ", this runtime reads up to " + number(kMajor) + "." + number(kMinor) +
                        "; update pyruntime or convert again");
  }
  if (!all_zero(header.reserved, header.reserved + sizeof header.reserved)) {
    return invalid_file("header: reserved bytes are not zero");
  }
  if (header.file_size != size_) {
    return invalid_file("header: declares " + number(header.file_size) + " bytes, the file has " + number(size_) +
                        (size_ < header.file_size ? " (truncated?)" : ""));
  }
  if (header.section_count != kSectionCount) {
    return invalid_file("header: " + number(header.section_count) + " sections, expected " + number(kSectionCount));
  }
  const uint64_t table_end = sizeof(Header) + kSectionCount * sizeof(Section);
  if (size_ < table_end) return invalid_file("section table: reaches past the end of the file");
  const uint8_t* table_bytes = data_ + sizeof(Header);
  if (crc32(table_bytes, kSectionCount * sizeof(Section)) != header.section_table_crc) {
    return invalid_file("section table: CRC mismatch, the file is damaged");
  }
  uint64_t end = table_end;
  for (uint32_t kind = 1; kind <= kSectionCount; ++kind) {
    const Section& s = section(static_cast<SectionKind>(kind));
    const std::string name = std::string("section ") + section_name(kind);
    if (s.kind != kind) return invalid_file(name + ": missing or out of order");
    if (s.reserved != 0) return invalid_file(name + ": reserved bytes are not zero");
    if (s.offset != align(end)) return invalid_file(name + ": does not start where the one before it ends");
    if (s.size > kMaxSize || s.offset > size_ || s.size > size_ - s.offset) {
      return invalid_file(name + ": reaches past the end of the file");
    }
    if (s.size != s.count * entry_size(kind)) {
      return invalid_file(name + ": " + number(s.size) + " bytes do not hold " + number(s.count) + " entries");
    }
    if (kind != 1 && kind != 4 && s.count > kMaxEntries) {
      return invalid_file(name + ": more than " + number(kMaxEntries) + " entries");
    }
    if (!all_zero(data_ + end, data_ + s.offset)) return invalid_file(name + ": the padding before it is not zero");
    if (crc32(data_ + s.offset, s.size) != s.crc) return invalid_file(name + ": CRC mismatch, the file is damaged");
    end = s.offset + s.size;
  }
  return {};
}

Status File::check_strings() const {
  const Section& s = section(SectionKind::kStrings);
  const char* bytes = string(0);
  if (s.size == 0 || bytes[0] != 0 || bytes[s.size - 1] != 0) {
    return invalid_file("section STRINGS: must start with the empty string and end with a NUL");
  }
  uint64_t run = 0;
  for (uint64_t i = 0; i < s.size; ++i) {
    run = bytes[i] ? run + 1 : 0;
    if (run > kMaxString) return invalid_file("section STRINGS: a string longer than 255 bytes");
    if ((bytes[i] > 0 && bytes[i] < ' ') || bytes[i] == 0x7f)
      return invalid_file("section STRINGS: a control character");
  }
  if (!valid_utf8(reinterpret_cast<const uint8_t*>(bytes), s.size)) return invalid_file("section STRINGS: not UTF-8");
  return {};
}

Status File::check_string(uint32_t offset, const std::string& where) const {
  const bool valid = offset < section(SectionKind::kStrings).size && (offset == 0 || string(offset)[-1] == 0);
  return valid ? Status() : invalid_file(where + ": does not point at a string");
}

Status File::check_words(uint32_t first, uint64_t n, const std::string& where) const {
  if (first > word_count() || n > word_count() - first) return invalid_file(where + ": reaches past section WORDS");
  return {};
}

Status File::check_values() const {
  for (uint32_t i = 0; i < symbol_count(); ++i) {
    const std::string where = "section SYMBOLS: entry " + number(i);
    const Symbol& s = symbol(i);
    PYRT_RETURN_IF_ERROR(check_string(s.name, where));
    if (s.min < 1 || s.min > s.max || s.max > INT32_MAX || s.reserved != 0) {
      return invalid_file(where + ": needs 1 <= min <= max");
    }
  }
  bool inputs_over = false;
  uint32_t inputs = 0, outputs = 0;
  for (uint32_t i = 0; i < value_count(); ++i) {
    const std::string where = "section VALUES: entry " + number(i);
    const Value& v = value(i);
    PYRT_RETURN_IF_ERROR(check_string(v.name, where));
    if (v.dtype < static_cast<uint8_t>(Dtype::kF32) || v.dtype > static_cast<uint8_t>(Dtype::kBits)) {
      return invalid_file(where + ": unknown dtype " + number(v.dtype));
    }
    if (is_integer_input(static_cast<Dtype>(v.dtype)) && v.role != static_cast<uint8_t>(Role::kInput)) {
      return invalid_file(where + ": only graph inputs are i32 or i64");
    }
    if (v.rank > kMaxRank) return invalid_file(where + ": rank over 6");
    if (v.channel_axis < -1 || v.channel_axis >= static_cast<int>(v.rank)) {
      return invalid_file(where + ": channel axis out of range");
    }
    if (v.role > static_cast<uint8_t>(Role::kOutput)) return invalid_file(where + ": unknown role");
    PYRT_RETURN_IF_ERROR(check_quant(v, where));
    if (v.role == static_cast<uint8_t>(Role::kInput)) {
      if (inputs_over) return invalid_file(where + ": graph inputs must come first");
      ++inputs;
      PYRT_RETURN_IF_ERROR(check_words(v.dims, v.rank, where));
      for (int d = 0; d < v.rank; ++d) {
        const auto dim = static_cast<int32_t>(words(v.dims)[d]);
        if (dim == 0 || (dim < 0 && static_cast<uint32_t>(-1 - dim) >= symbol_count())) {
          return invalid_file(where + ": dimension " + number(d) + " is neither a size nor a symbol");
        }
      }
    } else {
      inputs_over = true;
      outputs += v.role == static_cast<uint8_t>(Role::kOutput);
      if (v.dims != 0) return invalid_file(where + ": only graph inputs declare dimensions");
    }
  }
  if (inputs == 0 || outputs == 0) return invalid_file("section VALUES: needs a graph input and a graph output");
  return {};
}

Status File::check_quant(const Value& v, const std::string& where) const {
  const bool u8 = v.dtype == static_cast<uint8_t>(Dtype::kU8);
  if ((u8 || v.dtype == static_cast<uint8_t>(Dtype::kBits)) &&
      (v.role != static_cast<uint8_t>(Role::kInternal) || v.channel_axis < 0)) {
    return invalid_file(where + ": a value of u8 or bits must be internal and have a channel axis");
  }
  if (!u8) return v.quant == 0 ? Status() : invalid_file(where + ": only a u8 value has a quantization");
  PYRT_RETURN_IF_ERROR(check_words(v.quant, 2, where));
  float scale;
  std::memcpy(&scale, words(v.quant), sizeof scale);
  if (!(scale >= kMinScale && scale <= kMaxScale) || *words(v.quant + 1) > 255) {
    return invalid_file(where + ": needs a scale of 2^-100 to 2^100 and a zero point of 0 to 255");
  }
  return {};
}

Status File::check_ops() const {
  std::vector<bool> ready(value_count(), false);
  for (uint32_t i = 0; i < value_count(); ++i) ready[i] = value(i).role == static_cast<uint8_t>(Role::kInput);
  for (uint32_t i = 0; i < op_count(); ++i) {
    const Op& op = this->op(i);
    std::string where = "section OPS: entry " + number(i);
    PYRT_RETURN_IF_ERROR(check_string(op.name, where));
    PYRT_RETURN_IF_ERROR(check_string(op.source, where));
    where += std::string(" (") + string(op.name) + ")";
    if (op.reserved0 != 0 || op.reserved1 != 0) return invalid_file(where + ": reserved bytes are not zero");
    if (op.tensors > kMaxOpTensors) return invalid_file(where + ": more tensors than any op takes");
    const uint64_t operands = uint64_t{op.inputs} + op.outputs + op.tensors;
    PYRT_RETURN_IF_ERROR(check_words(op.operands, operands, where));
    PYRT_RETURN_IF_ERROR(check_words(op.attrs, op.attr_count, where));
    const uint32_t* ids = words(op.operands);
    for (uint32_t k = 0; k < op.inputs; ++k) {
      if (ids[k] >= value_count() || !ready[ids[k]]) return invalid_file(where + ": reads a value not yet produced");
    }
    for (uint32_t k = 0; k < op.outputs; ++k) {
      const uint32_t out = ids[op.inputs + k];
      if (out >= value_count() || ready[out]) return invalid_file(where + ": produces a value twice or out of range");
      ready[out] = true;
    }
    for (uint32_t k = 0; k < op.tensors; ++k) {
      if (ids[op.inputs + op.outputs + k] >= tensor_count()) return invalid_file(where + ": unknown tensor");
    }
  }
  for (uint32_t i = 0; i < value_count(); ++i) {
    if (!ready[i]) return invalid_file("section VALUES: entry " + number(i) + " is never produced");
  }
  return {};
}

Status File::check_streams() const {
  uint32_t next = 0;
  for (uint32_t i = 0; i < tensor_count(); ++i) {
    const Tensor& t = tensor(i);
    const std::string where = "section TENSORS: entry " + number(i);
    PYRT_RETURN_IF_ERROR(check_string(t.name, where));
    if (t.first_stream != next || t.stream_count > stream_count() - next) {
      return invalid_file(where + " (" + string(t.name) + "): its streams do not follow the tensor before it");
    }
    next += t.stream_count;
  }
  if (next != stream_count()) return invalid_file("section STREAMS: a stream belongs to no tensor");
  const Section& last = section(SectionKind::kStreams);
  uint64_t end = last.offset + last.size;
  for (uint32_t i = 0; i < stream_count(); ++i) {
    const Stream& s = stream(i);
    const std::string where = "section STREAMS: entry " + number(i);
    if (s.offset != align(end)) return invalid_file(where + ": does not start where the one before it ends");
    if (s.size > kMaxSize || s.offset > size_ || s.size > size_ - s.offset) {
      return invalid_file(where + ": reaches past the end of the file");
    }
    if (s.reserved0 != 0 || s.reserved1 != 0) return invalid_file(where + ": reserved bytes are not zero");
    if (!all_zero(data_ + end, data_ + s.offset)) return invalid_file(where + ": the padding before it is not zero");
    if (crc32(data_ + s.offset, s.size) != s.crc) {
      // Name the owner: the damage is in one layer's weights.
      for (uint32_t k = 0; k < tensor_count(); ++k) {
        const Tensor& t = tensor(k);
        if (i - t.first_stream < t.stream_count && i >= t.first_stream) {
          return invalid_file(where + " (tensor " + string(t.name) + "): CRC mismatch, the file is damaged");
        }
      }
    }
    end = s.offset + s.size;
  }
  if (end != size_) return invalid_file("the file has " + number(size_ - end) + " bytes after its last stream");
  return {};
}

}  // namespace pyrt::format
