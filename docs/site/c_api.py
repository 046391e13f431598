"""Makes the manual's page of the C API from the headers: their sections, each declaration under the comment before it.

Nothing is left out: whatever stands in a header between its include guard and the end is on the page, in its order.
"""
import pathlib
import re
import textwrap

_SECTION = re.compile(r"^/\* -{2,} (.+?) -{2,}\s*(\*/)?", re.MULTILINE)


def _body(text):
    """What is inside of extern "C"."""
    begin = re.search(r'#ifdef __cplusplus\nextern "C" \{\n#endif\n', text)
    end = text.rindex("#ifdef __cplusplus")
    return text[begin.end() : end]


def _prose(comment):
    """The comment's words. Lists and columns keep their lines, as a block."""
    inner = re.sub(r"^/\*|\*/$", "", comment.strip()).rstrip()
    lines = [re.sub(r"^ \* ?", "", line) for line in inner.split("\n")]
    text = textwrap.dedent("\n".join([lines[0].strip(), *lines[1:]])).strip()
    if re.search(r"^ {2,}\S", textwrap.dedent("\n".join(lines[1:])), re.MULTILINE) and len(lines) > 3:
        return f"```text\n{text}\n```\n"
    return " ".join(line.strip() for line in text.split("\n")).replace("*", r"\*").replace("<", r"\<") + "\n"


def _function(declaration):
    """A function, as Sphinx indexes it; anything else as code."""
    plain = " ".join(declaration.replace("TUTTI_API ", "").rstrip(";").split())
    return f"```{{c:function}} {plain}\n```\n"


def functions(text):
    """The names of the functions that a header declares."""
    return re.findall(r"^TUTTI_API [^;(]*?\**(tutti_\w+)\(", text, re.MULTILINE)


def render(text):
    """The page's part for a header."""
    out = []
    rest = _body(text)
    while rest.strip():
        rest = rest.lstrip("\n")
        section = _SECTION.match(rest)
        if section:
            out.append(f"\n## {section[1]}\n")
            if section[2]:
                rest = rest[section.end() :]
            else:
                end = rest.index("*/") + 2
                out.append(_prose("/*" + rest[section.end() : end]))
                rest = rest[end:]
        elif rest.startswith("/*"):
            end = rest.index("*/") + 2
            out.append(_prose(rest[:end]))
            rest = rest[end:]
        elif rest.startswith("TUTTI_API"):
            end = rest.index(";") + 1
            out.append(_function(rest[:end]))
            rest = rest[end:]
        else:
            end = re.search(r"\n(?=\n|/\*|TUTTI_API)|\Z", rest).start()
            if re.match(r"typedef (struct|enum) \w+ \{", rest):
                end = re.search(r"^\} \w+;", rest, re.MULTILINE).end()
            out.append(f"```c\n{rest[:end].rstrip()}\n```\n")
            rest = rest[end:]
    return "\n".join(out)


def write(include, page):
    """Writes the page, unless it is as it would be."""
    main, elastic = ((include / name).read_text(encoding="utf-8") for name in ("tutti.h", "elastic.h"))
    rules = main[: main.index("*/") + 2]
    text = "# C API\n\nMade from `tutti/tutti.h` and `tutti/elastic.h` by docs/site/c_api.py.\n\n"
    text += f"```text\n{textwrap.dedent(re.sub(r'^ [*] ?', '', rules[2:-2], flags=re.MULTILINE)).strip()}\n```\n"
    text += render(main) + render(elastic)
    declared = functions(main) + functions(elastic)
    missing = [name for name in declared if f"{name}(" not in text]
    if missing:
        raise ValueError(f"the page of the C API lacks {missing}")
    if not pathlib.Path(page).exists() or pathlib.Path(page).read_text(encoding="utf-8") != text:
        pathlib.Path(page).write_text(text, encoding="utf-8")
