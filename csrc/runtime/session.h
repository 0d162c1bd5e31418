// One caller's state: an arena and the plans made so far. Not for two threads at once.
#pragma once

#include <cstdlib>
#include <memory>
#include <vector>

#include "runtime/plan.h"

namespace pyrt {

struct OpTime {
  const Op* op;
  double ms;
};

// What looks at every op right after it has run, while its output is still there.
class Watcher {
 public:
  virtual ~Watcher() = default;
  virtual void after(const Op& op) = 0;
};

class Session {
 public:
  explicit Session(Model* model) : model_(*model) {}

  // Checks the inputs, and plans (or finds the plan) for their shapes.
  Status plan(const std::vector<Array>& inputs);
  // Runs on the inputs that were planned last. `outputs`: an array for each output, of its planned size; or empty, to
  // read them afterwards. `times`, if given, receives the time of every op.
  Status run(const std::vector<Array>& inputs, const std::vector<float*>& outputs = {},
             std::vector<OpTime>* times = nullptr, Watcher* watcher = nullptr);

  // Of the last plan or run. `output_dims` and `read_output` count outputs in call order.
  std::vector<int64_t> output_dims(size_t i) const;
  void read_output(size_t i, float* dst) const;
  const Plan& current() const { return *current_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };

  Model& model_;
  std::vector<std::unique_ptr<Plan>> plans_;  // most recently used first
  Plan* current_ = nullptr;
  std::unique_ptr<uint8_t, Free> arena_;
  size_t arena_size_ = 0;
};

}  // namespace pyrt
