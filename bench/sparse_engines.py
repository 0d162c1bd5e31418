"""Sparse engines that others made: each takes a CSR matrix W [M, K] and gives a function X [K, N] -> W X."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import scipy.sparse
import torch

Array = npt.NDArray[np.float32]
Product = Callable[[Array], Array]


def scipy_csr(w: scipy.sparse.csr_array) -> Product:
    return lambda x: w @ x


def torch_csr(w: scipy.sparse.csr_array) -> Product:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its CSR tensors are in beta state
        in_torch = torch.sparse_csr_tensor(w.indptr, w.indices, w.data, w.shape)
    return lambda x: (in_torch @ torch.from_numpy(x)).numpy()


def numba_csr(w: scipy.sparse.csr_array) -> Product:
    return lambda x: csr_times_dense(w.indptr, w.indices, w.data, x)


@numba.njit(parallel=True, fastmath=True)
def csr_times_dense(row_ptr, col, value, x):  # type: ignore[no-untyped-def]
    y = np.zeros((len(row_ptr) - 1, x.shape[1]), np.float32)
    for m in numba.prange(len(row_ptr) - 1):
        for i in range(row_ptr[m], row_ptr[m + 1]):
            for n in range(x.shape[1]):
                y[m, n] += value[i] * x[col[i], n]
    return y


class _Description(ctypes.Structure):
    """struct matrix_descr of mkl_spblas.h."""

    _fields_ = (("type", ctypes.c_int), ("mode", ctypes.c_int), ("diag", ctypes.c_int))


GENERAL = _Description(20, 0, 0)
NO_TRANSPOSE, ROW_MAJOR, MANY_CALLS = 10, 101, 1000  # constants of mkl_spblas.h, and expected calls


@cache
def mkl() -> ctypes.CDLL | None:
    """The MKL runtime of the PyPI package `mkl`, or None where it is not installed."""
    folder = Path(sys.prefix) / "lib"
    found = next((str(path) for path in folder.glob("libmkl_rt.so*")), ctypes.util.find_library("mkl_rt"))
    return ctypes.CDLL(found) if found else None


def mkl_csr(w: scipy.sparse.csr_array) -> Product:
    """MKL's inspector-executor API, with the hints that it asks for; raises RuntimeError on its errors."""
    library = mkl()
    if library is None:
        raise RuntimeError("no libmkl_rt: pip install mkl")
    rows, cols = w.shape
    data, indices, indptr = w.data, w.indices.astype(np.int32), w.indptr.astype(np.int32)

    def pointer(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    def checked(status: int) -> None:
        if status:
            raise RuntimeError(f"MKL sparse status {status}")

    handle = ctypes.c_void_p()
    ends = ctypes.c_void_p(indptr.ctypes.data + 4)
    checked(
        library.mkl_sparse_s_create_csr(
            ctypes.byref(handle), 0, rows, cols, pointer(indptr), ends, pointer(indices), pointer(data)
        )
    )
    hinted: set[int] = set()

    def call(x: Array) -> Array:
        columns = x.shape[1]
        if columns not in hinted:
            hinted.add(columns)
            if columns == 1:
                checked(library.mkl_sparse_set_mv_hint(handle, NO_TRANSPOSE, GENERAL, MANY_CALLS))
            else:
                hint = (NO_TRANSPOSE, GENERAL, ROW_MAJOR, columns, MANY_CALLS)
                checked(library.mkl_sparse_set_mm_hint(handle, *hint))
            checked(library.mkl_sparse_optimize(handle))
        y = np.empty((rows, columns), np.float32)
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        if columns == 1:
            checked(library.mkl_sparse_s_mv(NO_TRANSPOSE, one, handle, GENERAL, pointer(x), zero, pointer(y)))
        else:
            operands = (pointer(x), columns, columns, zero, pointer(y), columns)
            checked(library.mkl_sparse_s_mm(NO_TRANSPOSE, one, handle, GENERAL, ROW_MAJOR, *operands))
        return y

    call.keep = (data, indices, indptr)  # type: ignore[attr-defined]  # MKL points into them
    return call


ENGINES: dict[str, Callable[[scipy.sparse.csr_array], Product]] = {
    "scipy csr": scipy_csr,
    "torch csr": torch_csr,
    "mkl csr": mkl_csr,
    "numba csr": numba_csr,
}
