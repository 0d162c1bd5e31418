"""How exact a 3x3 convolution by Winograd's algorithm is: F(4x4, 3x3) in float32 at several sets of points.

    python bench/winograd.py

Prints the largest and the root-mean-square error against float64, relative to the root mean square of the
output, next to a plain float32 sum: a layer of 256 channels, rectified normal inputs, He-initialized weights.
Background: Barabasz et al. (2020), "Error analysis and improving the accuracy of Winograd convolution for
deep neural networks".
"""

import numpy as np
import sympy
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

CHANNELS, TILES, ROWS = 256, 64, 32
TILE, KERNEL, SIZE = 4, 3, 6
POINTS = {
    "0, ±2/3, ±3/2 (used)": ("0", "2/3", "-2/3", "3/2", "-3/2"),
    "0, ±1, ±2 (usual)": ("0", "1", "-1", "2", "-2"),
    "0, ±1, ±1/2": ("0", "1", "-1", "1/2", "-1/2"),
    "0, ±1, 1/2, -2": ("0", "1", "-1", "1/2", "-2"),
    "0, ±1/√2, ±√2": ("0", "sqrt(2)/2", "-sqrt(2)/2", "sqrt(2)", "-sqrt(2)"),
    "0, ±1/2, ±3/2": ("0", "1/2", "-1/2", "3/2", "-3/2"),
}
Array = NDArray[np.float32]


def transforms(points: tuple[str, ...]) -> tuple[Array, Array, Array]:
    """A^T, G and B^T of Toom-Cook's algorithm at `points` and infinity, computed exactly and then rounded."""
    p = [sympy.sympify(point) for point in points]
    x = sympy.Symbol("x")
    a = sympy.Matrix(TILE, SIZE, lambda i, f: p[f] ** i if f < 5 else int(i == TILE - 1))
    scale = [sympy.prod(p[f] - q for q in p if q != p[f]) for f in range(5)]
    g = sympy.Matrix(SIZE, KERNEL, lambda f, t: p[f] ** t / scale[f] if f < 5 else int(t == KERNEL - 1))
    rows = []
    for f in range(SIZE):
        factors = [x - q for i, q in enumerate(p) if i != f]
        coefficients = sympy.Poly(sympy.prod(factors), x).all_coeffs()[::-1]
        rows.append(coefficients + [0] * (SIZE - len(coefficients)))
    a_t, g, b_t = (np.array(m.evalf(30).tolist(), dtype=np.float64) for m in (a, g, sympy.Matrix(rows)))
    return a_t.astype(np.float32), g.astype(np.float32), b_t.astype(np.float32)


def by_winograd(x: Array, w: Array, points: tuple[str, ...]) -> Array:
    a_t, g, b_t = transforms(points)
    u = np.einsum("ij,mcjk,lk->ilmc", g, w, g).astype(np.float32)
    v = np.einsum("ij,ctjk,lk->ilct", b_t, x, b_t).astype(np.float32)
    products = np.zeros((SIZE, SIZE, ROWS, TILES), np.float32)
    for c in range(CHANNELS):  # one rounding per channel, as the kernel does
        products += u[:, :, :, c, None] * v[:, :, c, None, :]
    return np.einsum("ai,ilmt,bl->mtab", a_t, products, a_t).astype(np.float32)


def plain(x: NDArray, w: NDArray) -> NDArray:
    y = np.zeros((ROWS, TILES, TILE, TILE), x.dtype)
    for c in range(CHANNELS):
        for i in range(KERNEL):
            for j in range(KERNEL):
                y += w[:, c, i, j][:, None, None, None] * x[c, :, i : i + TILE, j : j + TILE]
    return y


def main() -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((CHANNELS, TILES, SIZE, SIZE)), 0).astype(np.float32)
    w = (rng.standard_normal((ROWS, CHANNELS, 3, 3)) * np.sqrt(2 / (9 * CHANNELS))).astype(np.float32)
    exact = plain(x.astype(np.float64), w.astype(np.float64))
    unit = np.sqrt(np.mean(exact**2))
    table = Table("algorithm", "largest error", "rms error", title="3x3 convolution, 256 channels, float32")
    results = {"plain sum": plain(x, w)} | {name: by_winograd(x, w, p) for name, p in POINTS.items()}
    for name, y in results.items():
        error = (y - exact) / unit
        table.add_row(name, f"{np.abs(error).max():.1e}", f"{np.sqrt(np.mean(error**2)):.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
