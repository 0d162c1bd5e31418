// Reads and validates a .pyrt file. What `open` returns needs no further check.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "format/format.h"

namespace pyrt::format {

// A Huffman-coded stream, taken apart.
struct HuffmanStream {
  uint8_t lengths[256];
  int alphabet;
  int table_bits;
  uint32_t chunks;
  const uint8_t* chunk_offset;  // u32[chunks + 1], little-endian
  const uint8_t* data;
};

HuffmanStream parse_huffman(const Stream& stream, const uint8_t* bytes, uint32_t chunks);

class File {
 public:
  File() = default;
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // Maps the file read-only; its pages are shared by every process that maps it.
  Status open(const char* path);
  // Uses the caller's bytes in place; they must stay as they are while the File lives, 64-byte aligned.
  Status open_memory(const void* data, size_t size);

  size_t size() const { return size_; }
  const uint8_t* data() const { return data_; }
  uint32_t symbol_count() const { return count(SectionKind::kSymbols); }
  uint32_t value_count() const { return count(SectionKind::kValues); }
  uint32_t op_count() const { return count(SectionKind::kOps); }
  uint32_t tensor_count() const { return count(SectionKind::kTensors); }
  uint32_t stream_count() const { return count(SectionKind::kStreams); }
  uint32_t word_count() const { return count(SectionKind::kWords); }

  const Symbol& symbol(uint32_t i) const { return table<Symbol>(SectionKind::kSymbols)[i]; }
  const Value& value(uint32_t i) const { return table<Value>(SectionKind::kValues)[i]; }
  const Op& op(uint32_t i) const { return table<Op>(SectionKind::kOps)[i]; }
  const Tensor& tensor(uint32_t i) const { return table<Tensor>(SectionKind::kTensors)[i]; }
  const Stream& stream(uint32_t i) const { return table<Stream>(SectionKind::kStreams)[i]; }
  const uint32_t* words(uint32_t i) const { return table<uint32_t>(SectionKind::kWords) + i; }
  const char* string(uint32_t offset) const { return table<char>(SectionKind::kStrings) + offset; }
  const uint8_t* stream_data(const Stream& s) const { return data_ + s.offset; }
  // The stream of that kind, or null.
  const Stream* find_stream(const Tensor& t, StreamKind kind) const;

 private:
  const Section& section(SectionKind kind) const;
  uint32_t count(SectionKind kind) const { return section(kind).count; }
  template <class T>
  const T* table(SectionKind kind) const {
    return reinterpret_cast<const T*>(data_ + section(kind).offset);
  }
  Status validate();
  Status check_layout();
  Status check_strings() const;
  Status check_values() const;
  Status check_quant(const Value& v, const std::string& where) const;
  Status check_ops() const;
  Status check_streams() const;
  Status check_string(uint32_t offset, const std::string& where) const;
  Status check_words(uint32_t first, uint64_t n, const std::string& where) const;

  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
};

// Number of Huffman chunks of a tensor.
// Columns that an entry stands for: the weights of a codeword, or 1.
uint32_t codeword_size(const Tensor& tensor);
uint64_t chunk_count(const Tensor& t);

// Checks what the streams of one tensor hold (format/check_tensor.cc).
Status check_tensor(const File& file, uint32_t index);

}  // namespace pyrt::format
