"""Where torch is not installed, none of these tests are collected; scripts/lib/build-python installs it."""
import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
