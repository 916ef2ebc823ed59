"""The part of a page that shows a run which lies inside the run of the page."""

from collections.abc import Mapping

from markupsafe import Markup

_SECTION = Markup(
    '<section aria-label="{title}"><div class="heading"><h2>{title}</h2></div>{header}'
    '{warning}<div class="scroll scores" tabindex="0" role="region" aria-label="{title}: scores">'
    "{table}</div>{brief}<details><summary>What the rows and columns mean, and the protocol"
    "</summary>{notes}{empty}{protocol}</details></section>{metrics}"
    '<section aria-label="{title}: clips"><div class="heading"><h2>{clip_count}</h2>'
    "<p>{title}. {pace}</p></div>"
    '<div class="cards" style="--columns: {columns}">{cards}</div></section>'
)


def draw_section(described: Mapping[str, object], fps: float, page_fps: float) -> Markup:
    """A run below that of the page, with a table, a protocol and clips of its own.

    Args:
        described: As the head of a page has it, see `run_page`.
        fps: Frames a second of this run.
        page_fps: Frames a second at which the page plays.
    """
    pace = f"Here they play at {page_fps:g} frames per second, as all of the page."
    return _SECTION.format(**described, pace="" if fps == page_fps else pace)
