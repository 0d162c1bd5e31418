// Holds one kernel against an oracle: kernel_test --list prints the kernels, kernel_test NAME sweeps one.
// Exit code 0: right; 1: wrong; 77: this processor cannot run it.
#include "attention.h"
#include "bits.h"
#include "decoding.h"
#include "integers.h"
#include "planes.h"
#include "pointwise.h"
#include "products.h"
#include "scaled.h"
#include "ternary.h"

// Sets form a tree: AVX-512 is not AVX-VNNI, which has the same instruction in another form.
using pyrt::Isa;
static_assert(isa_includes(Isa::kAvx512Bitalg, Isa::kAvx2) && isa_includes(Isa::kAvx512Vnni, Isa::kRef));
static_assert(isa_includes(Isa::kAvxVnni, Isa::kAvx2) && !isa_includes(Isa::kAvx2, Isa::kAvxVnni));
static_assert(!isa_includes(Isa::kAvx512Bitalg, Isa::kAvxVnni) && !isa_includes(Isa::kAvx512, Isa::kNeon));
static_assert(isa_includes(Isa::kNeonDot, Isa::kNeon) && !isa_includes(Isa::kAvx2, Isa::kNeon));

namespace {

using Test = void (*)(void (*kernel)());

template <class Fn>
Fn cast(void (*kernel)()) {
  return reinterpret_cast<Fn>(kernel);
}

struct Family {
  const char* name;
  Test test;
};

const Family kFamilies[] = {
    {"gemm_f32", [](void (*k)()) { test_gemm<float>(cast<pyrt::GemmFn>(k), false); }},
    {"gemm_f32_few", [](void (*k)()) { test_gemm<float>(cast<pyrt::GemmFn>(k), true); }},
    {"gemm_f16_few", [](void (*k)()) { test_gemm<uint16_t>(cast<pyrt::GemmFn>(k), true); }},
    {"gemm_q8_few", [](void (*k)()) { test_scaled(cast<pyrt::ScaledFn>(k), 8); }},
    {"gemm_q4_few", [](void (*k)()) { test_scaled(cast<pyrt::ScaledFn>(k), 4); }},
    {"widen_q8", [](void (*k)()) { test_widen_scaled(cast<pyrt::WidenScaledFn>(k), 8); }},
    {"widen_q4", [](void (*k)()) { test_widen_scaled(cast<pyrt::WidenScaledFn>(k), 4); }},
    {"gemm_binary_few", [](void (*k)()) { test_ternary(cast<pyrt::TernaryFn>(k), 1); }},
    {"gemm_ternary_few", [](void (*k)()) { test_ternary(cast<pyrt::TernaryFn>(k), 2); }},
    {"widen_binary", [](void (*k)()) { test_widen_ternary(cast<pyrt::WidenTernaryFn>(k), 1); }},
    {"widen_ternary", [](void (*k)()) { test_widen_ternary(cast<pyrt::WidenTernaryFn>(k), 2); }},
    {"csr_f32", [](void (*k)()) { test_csr(cast<pyrt::CsrFn>(k), false); }},
    {"csr_lines_f32", [](void (*k)()) { test_csr_lines(cast<pyrt::CsrFn>(k)); }},
    {"csr_f32_few", [](void (*k)()) { test_csr_few(cast<pyrt::CsrFewFn>(k), false); }},
    {"bcsr_f32", [](void (*k)()) { test_csr(cast<pyrt::CsrFn>(k), true); }},
    {"bcsr_f32_few", [](void (*k)()) { test_csr_few(cast<pyrt::CsrFewFn>(k), true); }},
    {"pairs_f32_few", [](void (*k)()) { test_pairs_few(cast<pyrt::PairsFn>(k)); }},
    {"expand_pairs_f32", [](void (*k)()) { test_expand_pairs(cast<pyrt::ExpandPairsFn>(k)); }},
    {"split_rows", [](void (*k)()) { test_split_rows(cast<pyrt::SplitRowsFn>(k)); }},
    {"pack_rows_f32", [](void (*k)()) { test_pack_rows(cast<pyrt::PackRowsFn>(k)); }},
    {"csr_deltas_f32", [](void (*k)()) { test_csr_deltas(cast<pyrt::CsrDeltasFn>(k)); }},
    {"csr_f32_dot", [](void (*k)()) { test_csr_dot(cast<pyrt::CsrDotFn>(k), false); }},
    {"bcsr_f32_dot", [](void (*k)()) { test_csr_dot(cast<pyrt::CsrDotFn>(k), true); }},
    {"depthwise_f32", [](void (*k)()) { test_depthwise(cast<pyrt::DepthwiseFn>(k)); }},
    {"copy_rows_f32", [](void (*k)()) { test_copy_rows(cast<pyrt::CopyRowsFn>(k)); }},
    {"winograd_input_f32", [](void (*k)()) { test_winograd_input(cast<pyrt::WinogradInputFn>(k)); }},
    {"winograd_weights_f32", [](void (*k)()) { test_winograd_weights(cast<pyrt::WinogradWeightsFn>(k)); }},
    {"winograd_output_f32", [](void (*k)()) { test_winograd_output(cast<pyrt::WinogradOutputFn>(k)); }},
    {"affine_f32", [](void (*k)()) { test_affine(cast<pyrt::AffineFn>(k)); }},
    {"binary_f32", [](void (*k)()) { test_binary(cast<pyrt::BinaryFn>(k)); }},
    {"reduce_rows_f32", [](void (*k)()) { test_reduce_rows(cast<pyrt::ReduceRowsFn>(k)); }},
    {"pool_f32", [](void (*k)()) { test_pool(cast<pyrt::PoolFn>(k)); }},
    {"lstm_f32", [](void (*k)()) { test_cell(cast<pyrt::CellFn>(k), true); }},
    {"gru_f32", [](void (*k)()) { test_cell(cast<pyrt::CellFn>(k), false); }},
    {"sum_f32", [](void (*k)()) { test_sum(cast<pyrt::SumFn>(k)); }},
    {"transpose_f32", [](void (*k)()) { test_transpose(cast<pyrt::TransposeFn>(k)); }},
    {"norm_f32", [](void (*k)()) { test_norm(cast<pyrt::NormFn>(k)); }},
    {"softmax_f32", [](void (*k)()) { test_softmax(cast<pyrt::SoftmaxFn>(k)); }},
    {"expand_cols_u8", [](void (*k)()) { test_expand_cols<uint8_t>(cast<pyrt::ExpandColsFn>(k)); }},
    {"expand_cols_u16", [](void (*k)()) { test_expand_cols<uint16_t>(cast<pyrt::ExpandColsFn>(k)); }},
    {"expand_index_f32", [](void (*k)()) { test_expand_index<float>(cast<pyrt::ExpandIndexFn>(k)); }},
    {"expand_index_s8", [](void (*k)()) { test_expand_index<int8_t>(cast<pyrt::ExpandIndexS8Fn>(k)); }},
    {"expand_csr_s8", [](void (*k)()) { test_expand_csr_s8(cast<pyrt::ExpandCsrS8Fn>(k)); }},
    {"widen_f16", [](void (*k)()) { test_widen(cast<pyrt::WidenFn>(k)); }},
    {"expand_codewords_f32", [](void (*k)()) { test_expand_codewords(cast<pyrt::ExpandCodewordsFn>(k)); }},
    {"gemm_codewords_f32", [](void (*k)()) { test_gemm_codewords(cast<pyrt::GemmCodewordsFn>(k)); }},
    {"codeword_dot_f32", [](void (*k)()) { test_codeword_dot(cast<pyrt::CodewordDotFn>(k)); }},
    {"unpack_index_u8", [](void (*k)()) { test_unpack_index(cast<pyrt::UnpackIndexFn>(k)); }},
    {"widen_s8", [](void (*k)()) { test_widen_s8(cast<pyrt::WidenS8Fn>(k)); }},
    {"qgemm_u8", [](void (*k)()) { test_qgemm(cast<pyrt::QGemmFn>(k), false); }},
    {"qgemm_u8_few", [](void (*k)()) { test_qgemm(cast<pyrt::QGemmFn>(k), true); }},
    {"qgemm_u8s4_few", [](void (*k)()) { test_qgemm(cast<pyrt::QGemmFn>(k), true, true); }},
    {"qcsr_dot_u8", [](void (*k)()) { test_qcsr_dot(cast<pyrt::QCsrDotFn>(k)); }},
    {"unpack_s4", [](void (*k)()) { test_unpack(cast<pyrt::UnpackFn>(k)); }},
    {"qdepthwise_u8", [](void (*k)()) { test_qdepthwise(cast<pyrt::QDepthwiseFn>(k)); }},
    {"quantize_u8", [](void (*k)()) { test_quantize(cast<pyrt::QuantizeFn>(k)); }},
    {"dequantize_u8", [](void (*k)()) { test_dequantize(cast<pyrt::DequantizeFn>(k)); }},
    {"qadd_u8", [](void (*k)()) { test_qadd(cast<pyrt::QAddFn>(k)); }},
    {"max_u8", [](void (*k)()) { test_max_bytes(cast<pyrt::MaxBytesFn>(k)); }},
    {"bgemm", [](void (*k)()) { test_bgemm(cast<pyrt::BGemmFn>(k)); }},
    {"binarize", [](void (*k)()) { test_binarize(cast<pyrt::BinarizeFn>(k)); }},
    {"huffman_u8", [](void (*k)()) { test_huffman(cast<pyrt::HuffmanFn>(k)); }},
};

int test(const pyrt::KernelEntry& kernel) {
  if (!pyrt::isa_available(kernel.isa)) {
    std::printf("this processor has no %s\n", pyrt::isa_name(kernel.isa));
    return 77;
  }
  for (const Family& family : kFamilies) {
    if (std::strcmp(family.name, kernel.family) != 0) continue;
    for (bool end : {true, false}) {
      guard_the_end = end;
      family.test(kernel.fn);
    }
    if (failures > 0) std::printf("%d failures\n", failures);
    return failures > 0;
  }
  std::printf("no test of family %s\n", kernel.family);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  size_t count = 0;
  const pyrt::KernelEntry* table = pyrt::kernel_table(&count);
  const char* name = argc == 2 ? argv[1] : "";
  for (size_t i = 0; i < count; ++i) {
    if (std::strcmp(name, "--list") == 0) std::puts(table[i].name);
    else if (std::strcmp(name, table[i].name) == 0) return test(table[i]);
  }
  if (std::strcmp(name, "--list") == 0) return 0;
  std::printf("usage: kernel_test --list | NAME\n");
  return 2;
}
