"""How long `codi --help` takes beside a bare `import torch`: `python benchmarks/startup.py [--rounds 5]`.

Processes are started in turns; the ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

CODI = str(Path(sys.executable).with_name("codi"))
TASKS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "codi --help": [CODI, "--help"],
    "codi generate --help": [CODI, "generate", "--help"],
    "codi info": [CODI, "info"],
    "import torch": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in TASKS}
    for turn in range(args.rounds + 1):
        for name, command in TASKS.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn:  # the first round warms the file cache
                seconds[name].append(time.perf_counter() - begun)
    print("| command | seconds | ratio to import torch |\n|---|---|---|")
    for name, spent in seconds.items():
        ratio = median(a / b for a, b in zip(spent, seconds["import torch"], strict=True))
        print(f"| {name} | {median(spent):.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
