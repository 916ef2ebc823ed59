"""Episodes of a replay buffer that were read, kept as far as memory for them goes."""

from collections import OrderedDict

from egowm.policies.replay_buffer import ReplayEpisode, Stored, read_episode

MOST_BYTES = 256 << 20


class EpisodeCache:
    """Reads episodes, and keeps those that were asked for last.

    size: H and W of their frames. width: A, of their actions. most_bytes: that the kept episodes
    take; a larger one is read anew each time.
    """

    def __init__(self, size: tuple[int, int], width: int, most_bytes: int = MOST_BYTES) -> None:
        self.size, self.width, self.most_bytes = size, width, most_bytes
        self.held: OrderedDict[Stored, ReplayEpisode] = OrderedDict()
        self.bytes = 0

    def __call__(self, stored: Stored) -> ReplayEpisode:
        """One episode; see `read_episode`."""
        if stored in self.held:
            self.held.move_to_end(stored)
            return self.held[stored]
        episode = read_episode(stored, self.size, self.width)
        self.held[stored] = episode
        self.bytes += _bytes(episode)
        while self.bytes > self.most_bytes:
            self.bytes -= _bytes(self.held.popitem(last=False)[1])
        return episode


def _bytes(episode: ReplayEpisode) -> int:
    return sum(part.nbytes for part in episode)
