"""Where the tests find what they test: perf/fabrics is a program, and its parts are no installed package."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "perf" / "fabrics"), str(ROOT / "perf" / "peers")]
