"""G7: `import matrixdata` beside `import httpx`, each in a fresh interpreter; goal: at most 1.5 times."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys


def seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode, on both sides
    ours, peer = [], []
    for _ in range(runs):  # in turn, so that a noisy moment meets both
        ours.append(seconds("matrixdata"))
        peer.append(seconds("httpx"))
    us, them = statistics.median(ours), statistics.median(peer)
    print(
        f"import matrixdata {us * 1000:.0f} ms, import httpx {them * 1000:.0f} ms, ratio {us / them:.2f} (goal 1.5)"
    )


if __name__ == "__main__":
    main()
