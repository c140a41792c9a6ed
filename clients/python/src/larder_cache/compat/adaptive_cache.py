"""TTLs that follow how often data changes."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

from .settings import ttl_of

#: The shortest and the longest TTL in seconds.
SHORTEST, LONGEST = 30, 86400

_NAMES = 1000
_UPDATES = 16
# The TTL as a share of the time between two updates.
_SHARE = 0.5


class UpdateLog:
    """The times of the last updates of each name, in this process. Bounded in names and times."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, name: str, at: float | None = None) -> None:
        """An update now, or at a time of the monotonic clock."""
        with self._lock:
            times = self._times.setdefault(name, deque(maxlen=_UPDATES))
            times.append(time.monotonic() if at is None else at)
            self._times.move_to_end(name)
            if len(self._times) > _NAMES:
                self._times.popitem(last=False)

    def interval(self, name: str, now: float | None = None) -> float | None:
        """The mean time between updates in seconds; None with less than two of them.

        A name that has not changed for longer than that counts as changing less often.
        """
        with self._lock:
            times = list(self._times.get(name, ()))
        if len(times) < 2:
            return None
        mean = (times[-1] - times[0]) / (len(times) - 1)
        return max(mean, (time.monotonic() if now is None else now) - times[-1])


_log = UpdateLog()


def note_update(name: str) -> None:
    """Counts an update of a key or a pattern such as ``statistics:daily``, or of a namespace.

    The invalidations of `larder_cache.compat` do it by themselves.
    """
    _log.note(name)
    namespace, colon, _ = name.partition(":")
    if colon:
        _log.note(namespace)


def get_adaptive_ttl(name: str) -> int:
    """The TTL in seconds for what changes under this name, such as ``statistics:daily``.

    Half the mean time between its last updates in this process, within 30 s and a day. Without
    updates of the name, those of its namespace count; without these, the TTL is that of the table.
    """
    namespace = name.partition(":")[0]
    interval = _log.interval(name)
    if interval is None and namespace != name:
        interval = _log.interval(namespace)
    if interval is None:
        return ttl_of(namespace)
    return int(min(max(interval * _SHARE, SHORTEST), LONGEST))
