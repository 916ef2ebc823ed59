"""Pages in a real browser, where there is one."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000")


def chromium() -> str:
    """A Chromium: EGOWM_CHROMIUM, one on the PATH, or Playwright's; skips the test without one."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
    found = os.environ.get("EGOWM_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    cache = Path.home() / ".cache" / "ms-playwright"
    installed = [*cache.glob("chromium*/*/chrome"), *cache.glob("chromium*/*/headless_shell")]
    program = found or (str(installed[-1]) if installed else None)
    if program is None:
        pytest.skip("no Chromium here: install one, or name it in EGOWM_CHROMIUM")
    return program


def result_of(page: Path, fragment: str = "") -> Any:
    """What a page writes into itself as RESULT...RESULT, in JSON."""
    command = [chromium(), *_OPTIONS, "--dump-dom", f"{page.as_uri()}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    found = re.search(r"RESULT([\[{].*[\]}])RESULT", done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1])
