// The result of every operation that can fail. The core has no exceptions.
#pragma once

#include <string>
#include <utility>

namespace pyrt {

enum class Code { kOk = 0, kNotFound, kIo, kInvalidFile, kInvalidArgument, kOutOfMemory };

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status invalid_file(std::string message) { return {Code::kInvalidFile, std::move(message)}; }
inline Status invalid_argument(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

#define PYRT_RETURN_IF_ERROR(expression)   \
  do {                                     \
    ::pyrt::Status status_ = (expression); \
    if (!status_.ok()) return status_;     \
  } while (0)

}  // namespace pyrt
