"""Peak memory of a fresh process that loads a model with one engine and infers once."""

import subprocess
import sys
from pathlib import Path

# VmHWM belongs to the program; ru_maxrss would start at what the parent had when it forked.
_SCRIPT = """
import sys
sys.path[:0] = {path!r}
import numpy as np
x = np.load({images!r})
{load_and_infer}
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_bytes(load_and_infer: str, images: Path) -> int:
    """Runs the Python statements `load_and_infer`, which find numpy as np and the images as x. Linux only."""
    root = Path(__file__).resolve().parents[1]
    script = _SCRIPT.format(path=[str(root)], images=str(images), load_and_infer=load_and_infer)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return 1024 * int(done.stdout)
