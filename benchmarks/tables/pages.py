"""Rewrites the marked blocks of the documentation from the files in benchmarks/results/.

A block lies between `<!-- NAME:begin -->` and `<!-- NAME:end -->`; BLOCKS says what NAME shows.
"""

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, ROOT, Script
from benchmarks.tables import (
    claims,
    data,
    daydreamer,
    encoder_scores,
    encoders,
    experiment,
    following,
    history,
    humanoid,
    latency,
    latent_models,
    paper,
    planning,
    policies,
    recordings,
    reliability,
    rollout,
    scale,
    scores_and_arrivals,
    scs,
    streaming,
    students,
    training,
    trials,
)
from egowm.files import whole

BLOCK = re.compile(r"(<!-- ([\w-]+):begin -->\n).*?(<!-- \2:end -->)", re.DOTALL)
MARKER = re.compile(r"<!-- ([\w-]+):(begin|end) -->")
BLOCKS: dict[str, Callable[[Path], str]] = {
    "rollout": rollout.rollout,
    "rooms": experiment.rooms,
    "claims": claims.claims,
    "headline": experiment.headline,
    "transformer": experiment.transformer,
    "rates": experiment.rates,
    "long-training": experiment.longer,
    "ablations": experiment.ablations,
    "trials": trials.trials,
    "paper-tables": paper.tables,
    "planning": planning.planning,
    "planning-memory": planning.memory,
    "decode-window": planning.windows,
    "action-following": following.following,
    "action-drift": following.drift,
    "action-following-real": following.recordings,
    "humanoid": humanoid.scores,
    "humanoid-following": humanoid.following,
    "humanoid-dimensions": humanoid.dimensions,
    "scores-and-arrivals": scores_and_arrivals.models,
    "rank-agreement": scores_and_arrivals.taus,
    "scs-speed": scs.speed,
    "scs-real": scs.real,
    "scs-truth": scs.truth,
    "data": data.speed,
    "listing": data.listing,
    "stored": data.stored,
    "students": students.students,
    "training": training.training,
    "training-card": training.card,
    "foretold": training.foretold,
    "rooms-step": training.rooms_step,
    "latency": latency.latency,
    "streaming": streaming.streaming,
    "walking": streaming.walking,
    "domain": streaming.domain,
    "policies": policies.policies,
    "latent-frames": latent_models.frames,
    "latent-paths": latent_models.paths,
    "daydreamer": daydreamer.driving,
    "encoders": encoders.encoders,
    "lives": encoders.lives,
    "encoder-costs": encoders.costs,
    "encoder-scores": encoder_scores.scores,
    "encoder-score-means": encoder_scores.means,
    "moog": encoder_scores.foretold,
    "history": history.history,
    "fuzz": reliability.fuzz,
    "kills": reliability.kills,
    "recordings": recordings.recordings,
    "scale-video": scale.video,
    "scale-clips": scale.clips,
}


def rewrite(text: str, results: Path) -> str:
    """A page with each marked block made anew.

    Raises ValueError for a block that nothing makes, and for a begin without its end.
    """
    found = [name for _, name, _ in BLOCK.findall(text)]
    for name, _ in MARKER.findall(text):
        if name not in BLOCKS:
            raise ValueError(f"Nothing makes the block {name}: expected {', '.join(BLOCKS)}.")
        if name not in found:
            raise ValueError(f"Expected {name}:begin before {name}:end, each on its own line.")

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}{BLOCKS[match[2]](results)}\n{match[3]}"

    return BLOCK.sub(fill, text)


def options(add: Callable[..., Any]) -> None:
    add("pages", nargs="*", type=Path, help="default: README.md and docs/*.md")
    add("--results", type=Path, default=RESULTS)


def work(arguments: argparse.Namespace) -> None:
    """Rewrite pages and print those that changed."""
    for page in arguments.pages or [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        try:
            changed = rewrite(text, arguments.results)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{page}: {error}") from error
        if changed != text:
            with whole(page) as temporary:
                temporary.write_text(changed, encoding="utf-8")
            print(page)


main = Script(__file__, __doc__, options, work)
if __name__ == "__main__":
    sys.exit(main())
