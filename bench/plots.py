"""Bars of how many times faster than the best other engine each case is."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np


def plot_ratios(rows: list[dict[str, Any]], title: str, path: Path) -> None:
    """`rows` are those of the JSON of compare.py; one bar for each number of threads. Writes a PNG."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    threads = sorted({row["threads"] for row in rows})
    height = 0.8 / len(threads)
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.3 * len(names)), layout="constrained")
    for i, count in enumerate(threads):
        ratios = {row["name"]: row["ratio"] for row in rows if row["threads"] == count}
        places = np.arange(len(names)) + (i - (len(threads) - 1) / 2) * height
        axes.barh(places, [ratios.get(name, np.nan) for name in names], height, label=f"{count} threads")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}x")
    axes.set_xlabel("time of the better of torch and onnxruntime / time of pyruntime (median)")
    axes.set_title(title)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_sparse(rows: list[dict[str, Any]], path: Path) -> None:
    """`rows` are those of the JSON of sparse.py: times faster than the best dense engine. A PNG or SVG."""
    threads = sorted({row["threads"] for row in rows})
    figure, panels = plt.subplots(
        1, len(threads), figsize=(7 * len(threads), 6), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, count in zip(panels[0], threads, strict=True):
        axes.set_prop_cycle(color=plt.get_cmap("tab20").colors)
        for name in dict.fromkeys(row["name"] for row in rows):
            own = [row for row in rows if row["name"] == name and row["threads"] == count]
            axes.plot([row["zeros"] for row in own], [row["x_dense"] for row in own], marker="o", label=name)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:g}x")
        axes.xaxis.set_major_formatter(lambda zeros, _: f"{zeros:.0%}")
        axes.set_xlabel("zeros")
        axes.set_title(f"{count} threads")
    panels[0][0].set_ylabel("time of the best dense engine / time of pyruntime")
    panels[0][-1].legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
