"""Plain text tables: what `Model.summary` and `Profile` print without any dependency."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Column titles, rows of text, and a last row of totals."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str]

    def is_number(self, column: int) -> bool:
        """Whether the column holds numbers, which are aligned to the right."""
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(cell.replace(",", "").replace(".", "").isdigit() for cell in cells)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows, self.total]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        right = [self.is_number(i) for i in range(len(self.columns))]

        def text(line: Sequence[str]) -> str:
            cells = (
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(line, widths, right, strict=True)
            )
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * width for width in widths)
        return "\n".join([text(self.columns), rule, *map(text, self.rows), rule, text(self.total)])
