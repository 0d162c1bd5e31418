"""An independent reader of docs/format.md in plain numpy, and an interpreter of its ops: the tests' oracle.

Shares no code with converters/ or csrc/. `read(path)` checks every rule of the page and raises FormatError;
`File.dense(i)` decodes a tensor; `run(file, inputs)` executes the graph with torch.nn.functional.
"""

from pyrt_reader.model import COLS, INDEX, S8BOOK, File, FormatError
from pyrt_reader.ops import run
from pyrt_reader.tables import parse, read

__all__ = ["COLS", "INDEX", "S8BOOK", "File", "FormatError", "parse", "read", "run"]
