"""Text files of recordings."""

from pathlib import Path


def text_of(file: Path) -> str:
    """A file's text, in UTF-8 with or without a byte order mark, which Excel writes; ValueError
    names a file that holds anything else."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file}: not a text file in UTF-8 ({error}); save it as such, in a spreadsheet as "
            f"`CSV UTF-8`."
        ) from error
