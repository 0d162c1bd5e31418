#include "runtime/plan.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace pyrt {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 36;
constexpr size_t kMaxTables = size_t{1} << 30;  // bytes of offset tables and masks
constexpr size_t kSlack = 256;                  // bytes after a buffer that a kernel may read

// Whether that many elements of float can be addressed without overflow.
bool addressable(const Node& n) {
  int64_t elements = 1;
  for (int d = 0; d < n.rank; ++d) {
    if (!checked_mul(elements, n.dims[d], &elements) || elements > kMaxElements) return false;
  }
  return true;
}

// Sets bits [begin, end), end > begin.
void set_bits(uint8_t* bits, int64_t begin, int64_t end) {
  const int64_t first = begin / 8, last = (end - 1) / 8;
  const int head = 0xff << (begin % 8) & 0xff, tail = 0xff >> (7 - (end - 1) % 8);
  if (first == last) {
    bits[first] |= static_cast<uint8_t>(head & tail);
    return;
  }
  bits[first] |= static_cast<uint8_t>(head);
  std::memset(bits + first + 1, 0xff, static_cast<size_t>(last - first - 1));
  bits[last] |= static_cast<uint8_t>(tail);
}

}  // namespace

Status Plan::make(const Model& model, const std::vector<Array>& inputs, std::unique_ptr<Plan>* plan) {
  std::unique_ptr<Plan> p(new Plan(model));
  PYRT_RETURN_IF_ERROR(p->infer(inputs));
  p->constrain();
  PYRT_RETURN_IF_ERROR(p->assign_grids());
  p->assign_external();
  PYRT_RETURN_IF_ERROR(p->assign_memory());
  PYRT_RETURN_IF_ERROR(p->prepare());
  *plan = std::move(p);
  return {};
}

bool Plan::fits(const std::vector<Array>& inputs) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dims != shapes_[i]) return false;
  }
  return true;
}

Status Plan::infer(const std::vector<Array>& inputs) {
  const auto& values = model_.values();
  for (const ValueInfo& v : values) {
    nodes_.push_back(std::make_unique<Node>());
    nodes_.back()->name = v.name;
    nodes_.back()->rank = v.rank;
    nodes_.back()->axis = v.axis;
    nodes_.back()->u8 = v.dtype == format::Dtype::kU8;
    nodes_.back()->bits = v.dtype == format::Dtype::kBits;
    nodes_.back()->scale = v.scale;
    nodes_.back()->zero = v.zero;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    Node& n = *nodes_[model_.inputs()[i]];
    std::copy(inputs[i].dims.begin(), inputs[i].dims.end(), n.dims);
    if (!addressable(n)) return invalid_argument("input '" + std::string(n.name) + "' is too large");
    n.set_shape(static_cast<int>(inputs[i].dims.size()), inputs[i].dims.data(), n.axis);
    shapes_.push_back(inputs[i].dims);
  }
  for (uint32_t v : model_.outputs()) ++nodes_[v]->consumers;
  for (const OpSpec& spec : model_.ops()) {
    std::unique_ptr<Op> op = make_op(spec);
    for (uint32_t v : spec.inputs) op->in.push_back(nodes_[v].get()), ++nodes_[v]->consumers;
    op->out = nodes_[spec.outputs[0]].get();
    op->isa = model_.kernels().isa;
    PYRT_RETURN_IF_ERROR(op->infer());
    if (!addressable(*op->out)) {
      return invalid_argument("layer " + std::string(spec.name) + ": its output is too large for these inputs");
    }
    ops_.push_back(std::move(op));
  }
  return {};
}

void Plan::constrain() {
  for (current_op_ = 0; current_op_ < static_cast<int>(ops_.size()); ++current_op_) ops_[current_op_]->constrain(this);
  // Concats of concats: from now on every node knows its root.
  std::vector<Node*> chain;
  for (const auto& n : nodes_) {
    Node* root = n.get();
    for (; root->storage; root = root->storage) chain.push_back(root);
    int64_t channel = 0;
    for (; !chain.empty(); chain.pop_back()) {
      channel += chain.back()->channel;
      chain.back()->channel = channel;
      chain.back()->storage = root;
    }
  }
}

Node* Plan::grid_of(Node* n) {
  while (n->grid != n) n = n->grid = n->grid->grid;
  return n;
}

Node* Plan::root_of(Node* n) {
  while (n->storage) n = n->storage;
  return n;
}

void Plan::share_grid(Node* a, Node* b) { grid_of(a)->grid = grid_of(b); }

bool Plan::place(Node* part, Node* whole, int64_t channel) {
  Node* owner = part;
  while (owner->in_place) owner = owner->storage;
  if (owner->storage || owner->channels != part->channels || root_of(whole) == owner) return false;
  whole->shared = true;
  // Directly in its root, so that views of views do not make long chains.
  for (; whole->storage; whole = whole->storage) channel += whole->channel;
  owner->storage = whole;
  owner->channel = channel;
  share_grid(part, whole);
  return true;
}

bool Plan::overwrite(Node* out, Node* in) {
  // The parts of a concat may be read again.
  if (in->consumers != 1 || in->shared || (in->storage && !in->in_place)) return false;
  out->storage = in->in_place ? in->storage : in;
  out->in_place = true;
  share_grid(out, in);
  return true;
}

Node* Plan::scratch() {
  nodes_.push_back(std::make_unique<Node>());
  nodes_.back()->name = "(phases)";
  scratch_op_.push_back(current_op_);
  return nodes_.back().get();
}

Status Plan::assign_grids() {
  struct Grid {
    int64_t pitch = 0, rows = 0, front = 0, back = 0, cols = 0;
    bool halo = false;
  };
  std::map<Node*, Grid> grids;
  for (const auto& n : nodes_) {
    Grid& g = grids[grid_of(n.get())];
    g.pitch = std::max(g.pitch, n->width + std::max(n->halo.left, n->halo.right));
    g.rows = std::max(g.rows, n->height + std::max(n->halo.top, n->halo.bottom));
    g.halo |= n->halo.any();
  }
  for (const auto& n : nodes_) {
    Grid& g = grids[grid_of(n.get())];
    // A grid may be as wide as one of its nodes and as high as another.
    int64_t total;
    if (!checked_mul(g.pitch, g.rows, &total) || !checked_mul(total, n->images, &total) || total > kMaxElements) {
      return invalid_argument("activation " + std::string(n->name) + " is too large for these inputs");
    }
    n->pitch = g.pitch;
    n->image = g.pitch * g.rows;
    n->cols = (n->images - 1) * n->image + (n->height - 1) * n->pitch + n->width;
    g.cols = std::max(g.cols, n->cols);
    g.front = std::max(g.front, n->halo.top * g.pitch + n->halo.left);
    g.back = std::max(g.back, n->halo.bottom * g.pitch + n->halo.right);
  }
  std::map<std::pair<Node*, std::pair<int64_t, int64_t>>, const uint8_t*> known;
  for (const auto& n : nodes_) {
    const Grid& g = grids[grid_of(n.get())];
    if (g.cols <= kFewColumns) {
      n->front = g.front;
      n->plane = g.front + g.cols + g.back;
    } else {
      // Column 0 on a cache line; an odd number of lines, so that neighbouring channels fall into different sets.
      n->front = round_up(g.front, 16);
      n->plane = (n->front + round_up(round_up(g.cols, 16) + g.back, 16)) | 16;
    }
    n->written = n->cols <= kFewColumns ? n->cols : round_up(n->cols, 16);
    const int64_t planes = n->planes();
    if (!checked_mul(n->plane, planes, &n->plane) || n->plane > kMaxElements) {
      return invalid_argument("activation " + std::string(n->name) + " is too large for these inputs");
    }
    n->plane /= planes;
    if (!g.halo) continue;
    const uint8_t*& mask = known[{grid_of(n.get()), {n->height, n->width}}];
    if (!mask) {
      const size_t bytes = static_cast<size_t>(round_up(n->cols, 16) / 8 + 2);
      table_bytes_ += bytes;
      if (table_bytes_ > kMaxTables) {
        return invalid_argument("activation " + std::string(n->name) + ": its padding is too large for these inputs");
      }
      masks_.emplace_back(new uint8_t[bytes]());
      for (int64_t i = 0; i < n->images; ++i) {
        for (int64_t h = 0; h < n->height; ++h) {
          const int64_t from = i * n->image + h * n->pitch;
          set_bits(masks_.back().get(), from, from + n->width);
        }
      }
      mask = masks_.back().get();
    }
    n->mask = mask;
  }
  return {};
}

// Inputs and outputs whose layout can be that of the caller's arrays are not copied.
void Plan::assign_external() {
  const auto fits = [this](const Node& n) {
    if (n.packed() || n.storage || n.shared || n.mask) return false;
    for (const auto& other : nodes_) {
      if (other->storage == &n) return false;
    }
    int64_t have[kRankMax], want[kRankMax];
    Node tight;
    tight.set_shape(n.rank, n.dims, n.axis);
    tight.pitch = n.pitch, tight.image = n.image, tight.plane = n.cols;
    tight.strides(have);
    tight.logical_strides(want);
    for (int d = 0; d < n.rank; ++d) {
      if (n.dims[d] > 1 && have[d] != want[d]) return false;
    }
    return true;
  };
  const auto set = [](Node* n) {
    n->external = true;
    n->front = 0;
    n->plane = n->cols;
  };
  for (uint32_t v : model_.inputs()) {
    Node* n = nodes_[v].get();
    bool exact = fits(*n) && !format::is_integer_input(model_.values()[v].dtype);
    int readers = 0;
    for (const auto& op : ops_) {
      const int reads = static_cast<int>(std::count(op->in.begin(), op->in.end(), n));
      readers += reads;
      exact = exact && (reads == 0 || op->exact(*n));
    }
    if (exact && readers == n->consumers) set(n);
  }
  for (const auto& op : ops_) {
    Node* n = op->out;
    const auto& outputs = model_.outputs();
    const bool output = std::any_of(outputs.begin(), outputs.end(), [&](uint32_t v) { return nodes_[v].get() == n; });
    if (output && n->consumers == 1 && fits(*n) && op->exact(*n)) set(n);
  }
}

Status Plan::assign_memory() {
  const int ops = static_cast<int>(ops_.size());
  std::map<Node*, std::pair<int, int>> lifetime;
  const auto use = [&](Node* n, int op) {
    auto [it, fresh] = lifetime.insert({root_of(n), {op, op}});
    it->second.first = std::min(it->second.first, op);
    it->second.second = std::max(it->second.second, op);
  };
  for (uint32_t v : model_.inputs()) use(nodes_[v].get(), -1);
  for (int i = 0; i < ops; ++i) {
    for (Node* n : ops_[i]->in) use(n, i);
    use(ops_[i]->out, i);
  }
  for (uint32_t v : model_.outputs()) use(nodes_[v].get(), ops);
  const size_t values = model_.values().size();
  for (size_t i = 0; i < scratch_op_.size(); ++i) use(nodes_[values + i].get(), scratch_op_[i]);
  for (uint32_t v : model_.inputs()) {
    if (nodes_[v]->external) lifetime.erase(nodes_[v].get());
  }
  for (const auto& [root, life] : lifetime) {
    const auto bytes = static_cast<size_t>(root->plane * root->planes()) * sizeof(float) + kSlack;
    buffers_.push_back(
        {root, life.first, life.second, static_cast<size_t>(round_up(static_cast<int64_t>(bytes), 64)), 0});
  }
  // Largest first, each at the lowest offset free of all buffers alive at the same time.
  std::sort(buffers_.begin(), buffers_.end(),
            [](const Buffer& a, const Buffer& b) { return a.size != b.size ? a.size > b.size : a.first < b.first; });
  for (size_t i = 0; i < buffers_.size(); ++i) {
    std::vector<const Buffer*> alive;
    for (size_t k = 0; k < i; ++k) {
      if (buffers_[k].first <= buffers_[i].last && buffers_[i].first <= buffers_[k].last) alive.push_back(&buffers_[k]);
    }
    std::sort(alive.begin(), alive.end(), [](const Buffer* a, const Buffer* b) { return a->offset < b->offset; });
    for (const Buffer* b : alive) {
      if (buffers_[i].offset + buffers_[i].size <= b->offset) break;
      buffers_[i].offset = std::max(buffers_[i].offset, b->offset + b->size);
    }
    arena_bytes_ = std::max(arena_bytes_, buffers_[i].offset + buffers_[i].size);
  }
  return {};
}

Status Plan::prepare() {
  for (const auto& op : ops_) {
    PYRT_RETURN_IF_ERROR(op->prepare(&table_bytes_, &scratch_size_));
    if (table_bytes_ > kMaxTables) {
      return invalid_argument("layer " + std::string(op->spec().name) + ": the tables of this model are too large");
    }
  }
  table_bytes_ += nodes_.size() * sizeof(Node);
  scratch_size_ = static_cast<size_t>(round_up(static_cast<int64_t>(scratch_size_), 64));
  scratch_offset_ = arena_bytes_;
  arena_bytes_ += scratch_size_ * static_cast<size_t>(model_.threads()) + kSlack;
  return {};
}

void Plan::bind(uint8_t* arena, const std::vector<Array>& inputs, const std::vector<float*>& outputs) {
  for (const Buffer& b : buffers_) b.root->data = reinterpret_cast<float*>(arena + b.offset) + b.root->front;
  for (size_t i = 0; i < inputs.size(); ++i) {
    Node* n = nodes_[model_.inputs()[i]].get();
    if (n->external) n->data = static_cast<float*>(const_cast<void*>(inputs[i].data));  // no op writes over it
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    Node* n = nodes_[model_.outputs()[i]].get();
    if (n->external) n->data = outputs[i];
  }
  for (const auto& n : nodes_) {
    if (n->storage) n->data = n->storage->row(n->channel);
  }
}

}  // namespace pyrt
