"""All that is tried, by name."""

from tests.fuzz import faulty, of_data, of_models, of_scs
from tests.fuzz.place import Target

TARGETS = of_data.TARGETS | of_models.TARGETS | of_scs.TARGETS


def target_of(name: str) -> Target:
    """One of these, or of those that try the harness itself."""
    return TARGETS.get(name) or faulty.TARGETS[name]
