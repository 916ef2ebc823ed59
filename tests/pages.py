"""The pages of the project, and the commands on them."""

import re
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("priors/*/README.md")),
]
(TUTORIALS,) = (
    {ROOT / "docs" / page for page in part["Tutorials"]}
    for part in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    if "Tutorials" in part
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = ("egowm", "egowm-scs", "lightning")
OURS = re.compile(r"(?<![\w./-])(?:(?:egowm|egowm-scs|lightning) [a-z]|python3? -m [a-z])")


def blocks(page: Path, language: str = "bash") -> list[str]:
    """The blocks of one language, as they stand."""
    return [block[2] for block in BLOCK.finditer(page.read_text("utf-8")) if block[1] == language]


def commands(page: Path) -> list[list[str]]:
    """The words of each command of ours in its blocks of bash."""
    return [words for block in blocks(page) for words in commands_of(block) if is_ours(words)]


def is_ours(words: list[str]) -> bool:
    """Whether a command begins a program of this project."""
    return words[0] in PROGRAMS or words[:2] == ["python", "-m"]


def commands_of(code: str) -> list[list[str]]:
    """The words of each command of a block; what a shell would put in stays as it is written."""
    found: list[list[str]] = []
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and not set(word) - set("();<>|&"):
                found.append(words)
                words = []
            elif words or not re.fullmatch(r"do|then|else|time|\w+=.*", word):
                words.append(word)
    return [words for words in found if words]
