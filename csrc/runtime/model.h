// A loaded model: the mapped file, its weights as kernels see them, and the sessions that run it. Immutable but for
// the pool of idle sessions; shared by threads.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "format/reader.h"
#include "ops/op.h"

namespace pyrt {

struct ValueInfo {
  const char* name;
  format::Dtype dtype;
  format::Role role;
  int rank;
  int axis;
  float scale;                // u8 only
  uint8_t zero;               // u8 only
  std::vector<int32_t> dims;  // graph inputs: a size, or -1 - symbol
};

// One array of a call, C-contiguous, in logical order.
// A caller's array. An input that the file declares i32 or i64 takes both.
struct Array {
  const void* data;
  std::vector<int64_t> dims;
  format::Dtype dtype = format::Dtype::kF32;
};

class Session;

class Model {
 public:
  // threads 0: all processors this process may use.
  static Status open(const char* path, int threads, std::unique_ptr<Model>* model);
  // Uses the caller's bytes in place; they must outlive the model, 64-byte aligned.
  static Status open_memory(const void* data, size_t size, int threads, std::unique_ptr<Model>* model);
  ~Model();

  const format::File& file() const { return file_; }
  const Kernels& kernels() const { return *kernels_; }
  int threads() const { return pool_->threads(); }
  const std::vector<ValueInfo>& values() const { return values_; }
  const std::vector<uint32_t>& inputs() const { return inputs_; }
  const std::vector<uint32_t>& outputs() const { return outputs_; }
  const std::vector<OpSpec>& ops() const { return ops_; }
  const std::vector<Weights>& weights() const { return weights_; }
  // Bytes of decoding tables and descriptions held besides the file.
  size_t table_bytes() const { return table_bytes_; }

  // Checks the types and shapes of a call against what the model declares.
  Status check_inputs(const std::vector<Array>& inputs) const;

  // A session nobody else uses, and giving it back.
  Status acquire(std::unique_ptr<Session>* session);
  void release(std::unique_ptr<Session> session);

  // The pool if no other session is using it now; give it back with unlock. Null: run on the calling thread alone,
  // which gives the same result.
  ThreadPool* try_lock_pool();
  void unlock_pool() { pool_mutex_.unlock(); }

 private:
  Model();
  Status bind(int threads);
  Status bind_weights();
  Status bind_ops();
  CodedStream bind_code(const format::Tensor& tensor, const format::Stream& stream);

  format::File file_;
  const Kernels* kernels_ = nullptr;
  std::unique_ptr<ThreadPool> pool_;
  std::mutex pool_mutex_;
  std::vector<ValueInfo> values_;
  std::vector<uint32_t> inputs_, outputs_;
  std::vector<Weights> weights_;
  std::vector<OpSpec> ops_;
  std::vector<std::unique_ptr<HuffmanEntry[]>> huffman_tables_;
  size_t table_bytes_ = 0;
  std::mutex idle_mutex_;
  std::vector<std::unique_ptr<Session>> idle_;
};

}  // namespace pyrt
