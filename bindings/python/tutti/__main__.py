"""python -m tutti TOOL ...: runs one of Tutti's tools, which come with the package."""
from __future__ import annotations

import os
import pathlib
import sys

_TOOLS = {"perf": "tutti-perf", "recorder": "tutti-recorder", "store": "tutti-store"}


def main() -> int:
    """Becomes the tool; returns only if that is not possible."""
    tool = sys.argv[1] if len(sys.argv) > 1 else ""
    if tool not in _TOOLS:
        print(f"usage: python -m tutti {{{'|'.join(_TOOLS)}}} ...", file=sys.stderr)
        return 0 if tool in ("-h", "--help") else 2
    program = pathlib.Path(__file__).parent / "bin" / _TOOLS[tool]
    try:
        os.execv(program, [_TOOLS[tool], *sys.argv[2:]])
    except OSError as why:
        print(f"python -m tutti {tool}: {program} cannot be run: {why.strerror}; install the package anew", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
