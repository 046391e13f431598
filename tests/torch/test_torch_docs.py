"""Every Python block of docs/torch.md, run as a program by two processes; and that its table tells of tests that exist."""
import pathlib
import re

import pytest
import ranks

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "torch.md"
_TEXT = _PAGE.read_text(encoding="utf-8")
_BLOCKS = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)


def _run_block(text):
    exec(compile(text, str(_PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102


@pytest.mark.parametrize("number", range(len(_BLOCKS)))
def test_the_block_runs(number):
    ranks.run(2, _run_block, _BLOCKS[number], backend=None)


def test_what_it_names_is_there():
    assert len(_BLOCKS) >= 3
    files = re.findall(r"\]\(\.\./(tests/[^)]*)\)", _TEXT)
    assert len(files) >= 4 and all((_ROOT / name).exists() for name in files)
    header = (_ROOT / "include" / "tutti" / "tutti.h").read_text(encoding="utf-8")
    for name in re.findall(r"`(tutti_[a-z_]+)(?:\(_v\))?`", _TEXT):
        assert name in header or name == "tutti_torch", name
