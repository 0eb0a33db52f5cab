"""Figures for Prometheus, in its text format."""

import threading
from collections.abc import Mapping

__all__ = ["Metrics"]

HELP = {
    "requests_total": "Answers by kind of request and status.",
    "jobs_total": "Requests that entered the queue.",
    "done_total": "Jobs that ended well.",
    "cancelled_total": "Jobs that were cancelled, or whose client went away.",
    "failed_total": "Jobs that ended with an error.",
    "refused_total": "Requests for which the queue had no room.",
    "pictures_total": "Pictures that were drawn for somebody.",
    "drawn_total": "Pictures that were drawn, in batches; those too whose client went away meanwhile.",
    "batches_total": "Batches that were drawn.",
    "drawing_seconds_total": "Seconds spent drawing.",
}


class Metrics:
    """Counters, by name and labels; several threads count."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], float] = {(name, ""): 0.0 for name in HELP if name != "requests_total"}
        self._lock = threading.Lock()

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        key = name, ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0.0) + by

    def value(self, name: str) -> float:
        """A counter, over all its labels."""
        with self._lock:
            return sum(value for (each, _), value in self._counts.items() if each == name)

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All counters, and gauges with what they are."""
        lines = []
        with self._lock:
            counts = sorted(self._counts.items())
        for name, told in HELP.items():
            lines += [f"# HELP underdraw_{name} {told}", f"# TYPE underdraw_{name} counter"]
            lines += [
                f"underdraw_{name}{'{' + labels + '}' if labels else ''} {value:g}"
                for (each, labels), value in counts
                if each == name
            ]
        for name, (told, value) in gauges.items():
            lines += [
                f"# HELP underdraw_{name} {told}",
                f"# TYPE underdraw_{name} gauge",
                f"underdraw_{name} {value:g}",
            ]
        return "\n".join(lines) + "\n"
