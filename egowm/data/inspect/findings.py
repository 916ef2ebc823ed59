"""Findings of a check."""

from typing import Any, Literal, NamedTuple

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


class Finding(NamedTuple):
    """One finding. kind: a word that tests and scripts look for; where: an episode or a file, ""
    for the data set; values: numbers behind it, for --json."""

    level: Level
    kind: str
    where: str
    text: str
    values: dict[str, Any] = {}  # noqa: RUF012 - never written to

    def line(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.level:<7} {self.kind:<10} {place}{self.text}"
