// decode_speed FILE: for every Huffman-coded INDEX stream of dense panels, its number of symbols and the least
// nanoseconds in which the kernel of this processor decodes all of it. For bench/decoders.py.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "format/format.h"
#include "runtime/model.h"

int main(int argc, char** argv) {
  using namespace pyrt;
  using Clock = std::chrono::steady_clock;
  std::unique_ptr<Model> model;
  const Status status = argc == 2 ? Model::open(argv[1], 1, &model) : invalid_argument("usage: decode_speed FILE");
  if (!status.ok()) return std::fprintf(stderr, "%s\n", status.message().c_str()), 1;
  for (const Weights& w : model->weights()) {
    if (w.structure != Weights::kPanels || !w.index_code.offset) continue;
    const int64_t panels = w.groups * w.panels_per_group(), blocks = ceil_div(w.cols, format::kChunkColumns);
    std::vector<uint8_t> out(format::kChunkColumns * format::kPanelRows + 64);
    double least = 1e18;
    for (int run = 0; run < 200; ++run) {
      const auto start = Clock::now();
      for (int64_t chunk = 0; chunk < panels * blocks; ++chunk) {
        const int64_t column = chunk % blocks * format::kChunkColumns;
        const int64_t columns = std::min<int64_t>(format::kChunkColumns, w.cols - column);
        const uint32_t begin = w.index_code.offset[chunk], end = w.index_code.offset[chunk + 1];
        model->kernels().huffman_u8({w.index_code.table, w.index_code.data + begin, end - begin,
                                     static_cast<size_t>(columns) * format::kPanelRows, out.data()});
      }
      least = std::min(least, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
    }
    std::printf("%lld %.0f\n", static_cast<long long>(w.entries), least);
  }
  return 0;
}
