"""What README and docs name is there: files, headings, commands and their options."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
ROOMS = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in ("build", "dist")]
PATH = re.compile(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, ROOMS))})/[\w./-]*\w/?")
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def code(text: str) -> list[str]:
    """Inline code, and the lines of code blocks."""
    blocks = re.findall(r"^(?: {4}|```\w*\n)(.+)$", text, re.MULTILINE)
    return [*re.findall(r"`([^`\n]+)`", text), *blocks]


@page
def test_links(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in headings(linked.read_text()), target


@page
def test_paths(page: Path) -> None:
    for name in PATH.findall(page.read_text()):
        assert (ROOT / name).exists(), name


def options_of(script: Path) -> str:
    """The source that declares the options of a command: its file, and what it imports from beside it."""
    source = script.read_text()
    beside = re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE)
    parts = [script.parent / f"{name}.py" for name in beside]
    return source + "".join(part.read_text() for part in parts if part.exists())


@page
def test_commands(page: Path) -> None:
    """Targets of make, commands of pyruntime, scripts, and the options of each."""
    makefile = (ROOT / "Makefile").read_text()
    cli = ROOT / "pyruntime" / "cli.py"
    for line in code(page.read_text()):
        for command in re.split(r"\s#|\||&&", line):
            words = command.split()
            while words and (re.match(r"[A-Z_]+=", words[0]) or words[0].rpartition("/")[2] == "python"):
                words = words[1:]
            if not words:
                continue
            if words[0] == "make":
                for target in words[1:]:
                    assert "=" in target or re.search(rf"^{target}:", makefile, re.MULTILINE), command
                continue
            if words[0] == "pyruntime" and len(words) > 1:
                assert f'"{words[1]}"' in cli.read_text(), command
                script = cli
            elif words[:2] == ["-m", "converters"]:
                script = ROOT / "converters" / "__main__.py"
            elif words[0].endswith(".py") and len(words) > 1:
                found = [ROOT / folder / words[0] for folder in ("", "bench", "examples")]
                (script,) = [path for path in found if path.exists()]
            else:
                continue
            declared = options_of(script)
            for option in re.findall(r"(?<=\s)--[a-z][\w-]*", " ".join(words)):
                assert f'"{option}"' in declared, command
