"""Measures what each encoding costs on this machine: the table that `pyruntime tune` keeps for itself.

python bench/costs.py            # prints it
python bench/costs.py --write    # and makes it the one that is shipped, converters/costs.json
"""

# ruff: noqa: E402

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from converters.tune import table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write converters/costs.json")
    arguments = parser.parse_args()
    text = table()
    print(text, end="")
    if arguments.write:
        (ROOT / "converters" / "costs.json").write_text(text)


if __name__ == "__main__":
    main()
