"""Plain text tables: what `Model.summary` and `Profile` print without any dependency."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Column titles, rows and a last row of totals.

    The first `text_columns` columns hold words, the others numbers, which are aligned to the right.
    """

    columns: Sequence[str]
    text_columns: int
    rows: Sequence[Sequence[str]]
    total: Sequence[str]

    def __str__(self) -> str:
        lines = [self.columns, *self.rows, self.total]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]

        def text(line: Sequence[str]) -> str:
            cells = (
                cell.ljust(width) if i < self.text_columns else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([text(self.columns), rule, *map(text, self.rows), rule, text(self.total)])
