"""python -m tutti.torch build: builds the extension for the torch that is installed, before it is needed."""
from __future__ import annotations

import sys

from tutti.torch.build import BuildError, build


def main() -> int:
    """Builds it; 1 if that is not possible, 2 for other arguments."""
    if sys.argv[1:] != ["build"]:
        print("usage: python -m tutti.torch build", file=sys.stderr)
        return 2
    try:
        print(build())
    except BuildError as why:
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
