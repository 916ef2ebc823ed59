"""Text files of recordings."""

from pathlib import Path

from egowm.limits import read_bytes


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
