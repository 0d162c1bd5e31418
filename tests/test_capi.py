"""The C API: libpyruntime driven through cffi from its own header, and linked into a C program."""

import re
import subprocess
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
import torch
from conftest import ROOT, Converted

import converters
import pyruntime

HEADER = ROOT / "csrc" / "pyruntime.h"


def declarations() -> str:
    """The header without its preprocessor lines."""
    text = re.sub(r'#ifdef __cplusplus\n(extern "C" \{|\})\n#endif\n', "", HEADER.read_text())
    text = text.replace("PYRT_MAX_RANK]", "6]").replace("PYRT_API ", "")
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


class Api:
    """The functions, plus `check`: raises what pyrt_error says."""

    def __init__(self, library: Path) -> None:
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations())
        self.lib: Any = self.ffi.dlopen(str(library))

    def error(self) -> str:
        return self.ffi.string(self.lib.pyrt_error()).decode()

    def check(self, status: int) -> None:
        assert status == self.lib.PYRT_OK, self.error()

    def open(self, path: Path, threads: int = 1) -> Any:
        model = self.ffi.new("pyrt_model**")
        self.check(self.lib.pyrt_model_open(str(path).encode(), threads, model))
        return self.ffi.gc(model[0], self.lib.pyrt_model_close)

    def session(self, model: Any) -> Any:
        session = self.ffi.new("pyrt_session**")
        self.check(self.lib.pyrt_session_create(model, session))
        return self.ffi.gc(session[0], self.lib.pyrt_session_destroy)

    def set_input(self, session: Any, index: int, x: np.ndarray) -> int:
        kind, suffix = {
            "f": ("float[]", ""),
            "q": ("int64_t[]", "_i64"),
            "l": ("int64_t[]", "_i64"),
            "i": ("int32_t[]", "_i32"),
        }[x.dtype.char]
        call = getattr(self.lib, "pyrt_session_set_input" + suffix)
        return int(call(session, index, self.ffi.from_buffer(kind, x), list(x.shape), x.ndim))

    def read_output(self, session: Any, index: int = 0) -> np.ndarray:
        info = self.ffi.new("pyrt_info*")
        self.check(self.lib.pyrt_session_output_info(session, index, info))
        y = np.empty(list(info.dims)[: info.rank], np.float32)
        data = self.ffi.from_buffer("float[]", y)
        self.check(self.lib.pyrt_session_read_output(session, index, data, y.size))
        return y


@pytest.fixture(scope="module")
def api(cpp_build: Path) -> Api:
    return Api(cpp_build / "libpyruntime.so")


def infer(api: Api, session: Any, x: np.ndarray) -> np.ndarray:
    api.check(api.set_input(session, 0, x))
    api.check(api.lib.pyrt_session_run(session))
    return api.read_output(session)


def test_version(api: Api) -> None:
    assert api.ffi.string(api.lib.pyrt_version()).decode() == pyruntime.__version__


def test_exports_the_header_and_nothing_else(cpp_build: Path) -> None:
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", cpp_build / "libpyruntime.so"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = {line.split()[-1] for line in symbols.splitlines()}
    assert exported == set(re.findall(r"PYRT_API .*?(pyrt_\w+)\(", HEADER.read_text()))


def test_infers_what_python_infers(api: Api, cnn: Converted) -> None:
    model = api.open(cnn.path)
    session = api.session(model)
    with pyruntime.load(cnn.path, threads=1) as reference:
        for batch in (3, 1, 3):
            x = np.ascontiguousarray(cnn.x[:batch])
            np.testing.assert_array_equal(infer(api, session, x), reference.infer(x))


def test_describes_inputs_and_outputs(api: Api, cnn: Converted) -> None:
    model = api.open(cnn.path)
    info = api.ffi.new("pyrt_info*")
    with pyruntime.load(cnn.path) as reference:
        assert api.lib.pyrt_input_count(model) == api.lib.pyrt_output_count(model) == 1
        api.check(api.lib.pyrt_input_info(model, 0, info))
        assert api.ffi.string(info.name).decode() == reference.inputs[0].name
        assert list(info.dims)[: info.rank] == [-1, 3, 12, 12]
        api.check(api.lib.pyrt_output_info(model, 0, info))
        assert api.ffi.string(info.name).decode() == reference.outputs[0].name
        assert list(info.dims)[: info.rank] == [-1, -1]
    assert api.lib.pyrt_input_info(model, 1, info) == api.lib.PYRT_INVALID_ARGUMENT


def test_opens_memory(api: Api, mlp: Converted) -> None:
    content = mlp.path.read_bytes()
    buffer = np.empty(len(content) + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    aligned = buffer[start : start + len(content)]
    aligned[:] = np.frombuffer(content, np.uint8)
    handle = api.ffi.new("pyrt_model**")
    api.check(api.lib.pyrt_model_open_memory(api.ffi.from_buffer(aligned), len(content), 1, handle))
    model = api.ffi.gc(handle[0], api.lib.pyrt_model_close)
    np.testing.assert_allclose(infer(api, api.session(model), mlp.x), mlp.y, atol=1e-5)

    aligned[-1] ^= 1
    assert api.lib.pyrt_model_open_memory(api.ffi.from_buffer(aligned), len(content), 1, handle) == (
        api.lib.PYRT_INVALID_FILE
    )


def test_sessions_share_a_model(api: Api, mlp: Converted) -> None:
    model = api.open(mlp.path)
    first, second = api.session(model), api.session(model)
    y = infer(api, first, mlp.x)
    infer(api, second, np.ascontiguousarray(mlp.x[:1]))
    np.testing.assert_array_equal(api.read_output(first), y)


def test_errors_are_statuses_with_a_text(api: Api, mlp: Converted, tmp_path: Path) -> None:
    handle = api.ffi.new("pyrt_model**")
    assert api.lib.pyrt_model_open(b"/missing.pyrt", 1, handle) == api.lib.PYRT_NOT_FOUND
    assert "/missing.pyrt" in api.error()
    (tmp_path / "bad.pyrt").write_bytes(b"x" * 100)
    assert (
        api.lib.pyrt_model_open(str(tmp_path / "bad.pyrt").encode(), 1, handle) == api.lib.PYRT_INVALID_FILE
    )
    assert "magic" in api.error()
    assert handle[0] == api.ffi.NULL

    session = api.session(model := api.open(mlp.path))
    assert api.lib.pyrt_session_run(session) == api.lib.PYRT_INVALID_ARGUMENT  # no input yet
    wrong = np.zeros((2, 31), np.float32)
    status = api.set_input(session, 0, wrong) or api.lib.pyrt_session_run(session)
    assert status == api.lib.PYRT_INVALID_ARGUMENT and "32" in api.error()
    assert api.set_input(session, 7, mlp.x) == api.lib.PYRT_INVALID_ARGUMENT
    room = np.empty(3, np.float32)
    infer(api, session, mlp.x)
    data = api.ffi.from_buffer("float[]", room)
    assert api.lib.pyrt_session_read_output(session, 0, data, room.size) == api.lib.PYRT_INVALID_ARGUMENT
    del session, model


def test_null_handles_are_refused(api: Api) -> None:
    null, lib = api.ffi.NULL, api.lib
    assert lib.pyrt_model_open(null, 1, null) == lib.PYRT_INVALID_ARGUMENT
    assert lib.pyrt_session_create(null, api.ffi.new("pyrt_session**")) == lib.PYRT_INVALID_ARGUMENT
    assert lib.pyrt_session_run(null) == lib.PYRT_INVALID_ARGUMENT
    lib.pyrt_model_close(null)
    lib.pyrt_session_destroy(null)


@pytest.mark.parametrize("library", ["shared", "static"])
def test_links_into_a_c_program(cpp_build: Path, mlp: Converted, tmp_path: Path, library: str) -> None:
    (tmp_path / "main.c").write_text("""
        #include <pyruntime.h>
        #include <stdio.h>
        int main(int argc, char** argv) {
          pyrt_model* model = NULL;
          (void)argc;
          if (pyrt_model_open(argv[1], 1, &model) != PYRT_OK) return puts(pyrt_error()), 1;
          printf("%u\\n", (unsigned)pyrt_input_count(model));
          pyrt_model_close(model);
          return 0;
        }""")
    program = tmp_path / "main"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{HEADER.parent}"]
    libraries = {
        "shared": [cpp_build / "libpyruntime.so", f"-Wl,-rpath,{cpp_build}"],
        "static": [cpp_build / "libpyruntime.a", "-lstdc++", "-lm", "-pthread"],
    }
    build = ["gcc", *flags, tmp_path / "main.c", *libraries[library], "-o", program]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([program, mlp.path], capture_output=True, text=True).stdout == "1\n"


def test_integer_inputs(api: Api, tmp_path: Path) -> None:
    net = torch.nn.Embedding(50, 8)
    converters.convert(net, torch.zeros(1, 4, dtype=torch.int64), tmp_path / "table.pyrt", progress=False)
    model = api.open(tmp_path / "table.pyrt")
    info = api.ffi.new("pyrt_info*")
    api.check(api.lib.pyrt_input_info(model, 0, info))
    assert info.dtype == api.lib.PYRT_I64
    session = api.session(model)
    ids = np.array([[3, 49, 0], [7, 7, 1]])
    wanted = net(torch.from_numpy(ids)).detach().numpy()
    assert np.array_equal(infer(api, session, ids), wanted)
    assert np.array_equal(infer(api, session, ids.astype(np.int32)), wanted)
    assert api.set_input(session, 0, ids.astype(np.float32)) == api.lib.PYRT_OK
    assert api.lib.pyrt_session_run(session) == api.lib.PYRT_INVALID_ARGUMENT
