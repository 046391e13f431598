"""Every Python block of docs/python.md, run as a program by two processes."""
import pathlib
import re

import job
import pytest

_PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "python.md"
_BLOCKS = re.findall(r"```python\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


def _run_block(text):
    exec(compile(text, str(_PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102


@pytest.mark.parametrize("number", range(len(_BLOCKS)))
def test_the_block_runs(number):
    job.run(2, _run_block, _BLOCKS[number])


def test_there_are_blocks():
    assert len(_BLOCKS) >= 5
