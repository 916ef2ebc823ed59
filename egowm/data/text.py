"""Text files of recordings, and what is said of a recording that is broken."""

from pathlib import Path

from egowm.checks import counted
from egowm.limits import read_bytes

ADVICE = "Repair it or copy it again, or leave it out with skip_corrupt: true."
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


def bad(file: Path, what: str) -> ValueError:
    """The error for a recording that `skip_corrupt` leaves out."""
    return ValueError(f"{file}: {what}. {ADVICE}")


def spreadsheets(folder: Path) -> str:
    """What to do with the spreadsheets of a folder, one sentence; "" where there are none."""
    found = sorted(
        path.name
        for path in folder.glob("*")
        if path.suffix.lower() in SHEETS and not path.name.startswith(("~$", ".~", "._"))  # locks
    )
    if not found:
        return ""
    others = f" and {counted(len(found) - 1, 'other')}" if found[1:] else ""
    return (
        f"{found[0]}{others}: a spreadsheet's own format is not read; save the sheet of each video "
        f"as `CSV UTF-8`, under the video's name."
    )


def text_of(file: Path) -> str:
    """A file's text, in UTF-8 with or without a byte order mark, which Excel writes, its lines
    ended by "\\n"; ValueError names a file that holds anything else, and what is no file."""
    try:
        text = read_bytes(file).decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file}: not a text file in UTF-8 ({error}); save it as such, in a spreadsheet as "
            f"`CSV UTF-8`."
        ) from error
