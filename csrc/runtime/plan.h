// Everything about running a model on inputs of certain shapes: the shape and place of every activation, and its ops
// with their tables. Memory is assigned as offsets into an arena; `bind` points everything at one.
#pragma once

#include <memory>
#include <vector>

#include "ops/op.h"
#include "runtime/model.h"

namespace pyrt {

class Plan : public Layout {
 public:
  static Status make(const Model& model, const std::vector<Array>& inputs, std::unique_ptr<Plan>* plan);

  bool fits(const std::vector<Array>& inputs) const;
  // Places all activations; an external one lies in the caller's array where there is one. `outputs` may be empty.
  void bind(uint8_t* arena, const std::vector<Array>& inputs, const std::vector<float*>& outputs);

  size_t arena_bytes() const { return arena_bytes_; }  // activations and per-thread scratch
  size_t table_bytes() const { return table_bytes_; }  // offset tables and masks
  size_t scratch_offset() const { return scratch_offset_; }
  size_t scratch_size() const { return scratch_size_; }
  const std::vector<std::unique_ptr<Op>>& ops() const { return ops_; }
  const Node& value(uint32_t i) const { return *nodes_[i]; }

  void share_grid(Node* a, Node* b) override;
  bool place(Node* part, Node* whole, int64_t channel) override;
  bool overwrite(Node* out, Node* in) override;
  Node* scratch() override;

 private:
  explicit Plan(const Model& model) : model_(model) {}
  Status infer(const std::vector<Array>& inputs);
  void constrain();
  Status assign_grids();
  void assign_external();
  Status assign_memory();
  Status prepare();
  static Node* grid_of(Node* n);
  static Node* root_of(Node* n);

  struct Buffer {
    Node* root;
    int first, last;  // ops during which it must exist
    size_t size;      // bytes
    size_t offset;
  };

  const Model& model_;
  std::vector<std::unique_ptr<Node>> nodes_;  // the values, then scratch nodes
  std::vector<int> scratch_op_;               // per scratch node: the op it serves
  int current_op_ = 0;
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<Buffer> buffers_;
  std::vector<std::unique_ptr<uint8_t[]>> masks_;
  std::vector<std::vector<int64_t>> shapes_;
  size_t arena_bytes_ = 0, table_bytes_ = 0, scratch_offset_ = 0, scratch_size_ = 0;
};

}  // namespace pyrt
