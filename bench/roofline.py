"""The float32 FMA peak of this machine, measured: chains of vector FMAs that never leave registers."""

import ctypes
import threading
import time

import llvmlite.binding as llvm

CHAINS = 12  # at least latency (4) x FMAs a cycle (2), and room in 16 registers
LOOPS = 1_000_000
TRIES = 25  # on a shared machine most of them are disturbed


def fma_gflops(lanes: int, threads: int) -> float:
    """GFLOP/s of `threads` threads together, each with vectors of `lanes` floats (8: AVX2, 16: AVX-512)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    with llvm.create_mcjit_compiler(llvm.parse_assembly(_program(lanes)), machine) as engine:
        engine.finalize_object()
        loop = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float, ctypes.c_int64)(
            engine.get_function_address("fma_loop")
        )
        best = min(_seconds(loop, threads) for _ in range(TRIES))
    return 2.0 * lanes * CHAINS * LOOPS * threads / best / 1e9


def _seconds(loop: ctypes._CFuncPtr, threads: int) -> float:
    """Until the last thread is done; ctypes gives the GIL away."""
    workers = [threading.Thread(target=loop, args=(0.5, LOOPS)) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def _program(lanes: int) -> str:
    """LLVM IR of `float fma_loop(float x, long n)`: acc = acc * x + acc for every chain, n times."""
    vector, chains = f"<{lanes} x float>", range(CHAINS)
    acc = "\n".join(f"  %a{i} = phi {vector} [ %v, %entry ], [ %b{i}, %loop ]" for i in chains)
    fma = "\n".join(
        f"  %b{i} = call {vector} @llvm.fma({vector} %a{i}, {vector} %v, {vector} %a{i})" for i in chains
    ).replace("@llvm.fma", f"@llvm.fma.v{lanes}f32")
    total = "\n".join(
        f"  %s{i} = fadd {vector} {'%b0' if i == 1 else f'%s{i - 1}'}, %b{i}" for i in chains if i
    )
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
define float @fma_loop(float %x, i64 %n) {{
entry:
  %one = insertelement {vector} poison, float %x, i32 0
  %v = shufflevector {vector} %one, {vector} poison, <{lanes} x i32> zeroinitializer
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %next, %loop ]
{acc}
{fma}
  %next = add i64 %k, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
{total}
  %y = extractelement {vector} %s{CHAINS - 1}, i32 0
  ret float %y
}}
"""
