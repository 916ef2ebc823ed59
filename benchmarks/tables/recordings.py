"""The public recordings that recipes read; facts that the package holds, no measurement."""

import re
from pathlib import Path

from benchmarks.tables.markdown import Columns, lines_of, table
from egowm.data.public_recordings import PublicRecording, public_recordings
from egowm.shipped import recipes

ROOT = re.compile(r"\b(?:root|train_names): (\S+)")
COLUMNS: Columns = {
    "recordings": lambda r: f"[{r['known'].name}]({r['known'].page})",
    "licence": lambda r: str(r["known"].licence),
    "size": lambda r: str(r["known"].size),
    "recipes": lambda r: ", ".join(f"`{name}`" for name in readers(r["known"])),
    "afterwards": lambda r: str(r["known"].then),
}


def recordings(results: Path) -> str:
    """A table, and below it the commands that fetch what can be fetched by one."""
    known = public_recordings()
    commands = (f"# {x.name}\n{x.command_into(place(x))}" for x in known if x.command)
    rows = lines_of(COLUMNS, ({"known": x} for x in known))
    return "\n\n".join([table(COLUMNS, rows), "```bash\n" + "\n".join(commands) + "\n```"])


def place(known: PublicRecording) -> Path:
    """Where the page puts it: the first of the folders in which recipes expect it."""
    return Path("data") / next(iter(known.folders))


def readers(known: PublicRecording) -> list[str]:
    """The recipes that expect it."""
    return [
        name
        for name, path in recipes().items()
        if {Path(root).name for root in ROOT.findall(path.read_text("utf-8"))} & {*known.folders}
    ]
