"""What is said of a number is right of 1, too: `counted` puts its noun, and the verb, in form."""

import ast
import re
from pathlib import Path

from egowm.checks import counted

PACKAGE = Path(__file__).parent.parent / "egowm"
# Something put in ("#", or "%d"), at most two words, and a word that ends as a plural does.
PLURAL = re.compile(r"(?:#|%d)[ -]((?:[a-z]+ ){0,2}?)([a-z]{2,}s|#s)\b")
NO_NOUNS = {
    "as", "is", "was", "has", "its", "this", "needs", "takes", "gives", "holds", "does", "says",
    "makes", "decodes", "imports", "overwrites", "reads", "describes", "reaches", "moves",
    "belongs", "lets", "lacks", "loads", "names", "replaces", "learns", "starts", "from",
    "acts", "goes", "ends", "predicts", "in", "of", "or", "with", "to",
}  # fmt: skip
EXEMPT = {
    # a word is put in, or several
    "droid.py: # annotations", "episode.py: # recordings", "import_egowm.py: # x dimensions",
    "one_x.py: # labels", "recordings.py: # labels", "drawn.py: # #s",
    "recordings.py: # divide the recordings", "run_page.py: # comes", "text.py: # finds",
    "text.py: # loses",
    # the number is above 1
    "domain.py: # pictures", "messages.py: # actions", "messages.py: # characters",
    "messages.py: # digits", "walk.py: # pixels",
    "compare.py: # training runs", "flow.py: # pixels", "goal.py: %d candidates",
    "line_chart.py: # dimensions", "one_x.py: # bytes", "packing.py: # bytes",
    "run_lengths.py: # pixels", "scs_page.py: # samples", "spec.py: # times",
    "masks.py: # patches", "single_life.py: # patches", "rollout.py: # frames",
    "rollout.py: # sequences", "sharded.py: # devices",
    "causal_codec.py: # latent frames", "transformer.py: # channels", "csv_table.py: # bytes",
    # it counts something else, or is read by programs
    "run_record.py: # cores", "tum_rgbd.py: # values", "tum_rgbd.py: # between poses",
}  # fmt: skip


def plurals(source: str) -> set[str]:
    """Where the texts of a source put a plural after a number, as it is said there."""
    texts = [_text(node) for node in ast.walk(ast.parse(source))]
    found = [match for text in texts for match in PLURAL.finditer(text)]
    return {match[0] for match in found if not NO_NOUNS & {*match[1].split(), match[2]}}


def _text(node: ast.AST) -> str:
    """A text with "#" for what is put in as it is; what has a format is a fraction or large."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.FormattedValue):
        return "_" if node.format_spec or node.conversion != -1 else "#"
    text = node.value if isinstance(node, ast.Constant) else ""
    return text.replace("#", "_") if isinstance(text, str) else ""


def test_no_plural_stands_after_a_number_that_can_be_1():
    files = sorted(PACKAGE.rglob("*.py"))
    found = {f"{file.name}: {said}" for file in files for said in plurals(file.read_text("utf-8"))}
    assert found == EXEMPT


def test_such_a_plural_is_found():
    source = 'f"{n} clips are", f"{n} {noun}s", f"{n} lost object frames", f"{a} of {n} clips"'
    assert plurals(source) == {"# clips", "# #s", "# lost object frames"}
    assert plurals('"in %d clips"') == {"%d clips"}
    assert plurals('f"{x:.1f} metres", f"{name} has", f"{path!r} names", f"{n} of clips"') == set()


def test_the_verb_follows_the_number():
    said = [counted(n, "process is", "processes are") for n in (0, 1, 2)]
    assert said == ["0 processes are", "1 process is", "2 processes are"]
