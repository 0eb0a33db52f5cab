"""`audit`: what a careful person checks in a data set before a training, sample by sample and then all together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from underdraw.data.alignment import SIDE
from underdraw.data.comparing import misaligned, missing, polarity, same_words, strange_colours, twins
from underdraw.data.looking import Finding, Look, look_at
from underdraw.data.prepare import is_prepared
from underdraw.data.shards import ShardSet
from underdraw.data.sources import Entry, Source
from underdraw.images import MIN_SIDE
from underdraw.workers import in_order

__all__ = ["Audit", "audit", "facts", "sorts", "summary"]

CHUNK = 9
"""Samples that are looked at together: each map is laid over eight other pictures."""
SMALL = 112
"""Where most pictures have a smaller side, they are compared at half the size."""


@dataclass(frozen=True)
class Audit:
    """What was found. source: what it is. looks: of every sample. aligned: of each kind, by what its maps were laid
    over their pictures ("" if that tells nothing). findings: all that is wrong.
    """

    source: str
    looks: Sequence[Look]
    aligned: Mapping[str, str]
    findings: Sequence[Finding]

    @property
    def kinds(self) -> list[str]:
        """The kinds of maps, sorted."""
        return sorted({kind for look in self.looks for kind in look.maps})


def audit(source: Source, workers: int = 1, folder: str | Path | None = None) -> Iterator[Look | Audit]:
    """Look at every sample of a source; each look as it is done, and at last the audit.

    folder: that of prepared data, whose checksums are then compared too.
    """
    side = _side(source)
    chunks = [source.entries[first : first + CHUNK] for first in range(0, len(source), CHUNK)]
    looks: list[Look] = []
    for found in in_order(_Glance(side), chunks, min(workers, max(1, len(chunks)))):
        looks += found
        yield from found
    findings = [Finding(each.name, each.what, each.detail, serious=each.loses) for each in source.problems]
    findings += [finding for look in looks for finding in look.findings]
    findings += [*_broken(folder), *twins(looks), *same_words(looks), *missing(looks)]
    aligned = {}
    for kind in sorted({kind for look in looks for kind in look.maps}):
        aligned[kind], verdicts = misaligned(looks, kind)
        inverted, taken_back = polarity(looks, kind)
        findings = [each for each in findings if each not in taken_back]
        findings += [*verdicts, *inverted, *strange_colours(looks, kind)]
    yield Audit(source.about, looks, aligned, _once(findings))


@dataclass(frozen=True)
class _Glance:
    """`look_at` with its side: what is handed to a worker."""

    side: int

    def __call__(self, entries: Sequence[Entry]) -> list[Look]:
        return look_at(entries, self.side)


def _side(source: Source) -> int:
    """At which size pictures are compared, by the first dozen that can be read."""
    sizes = [look.size for look in look_at(source.entries[:: max(1, len(source) // 12)][:12], MIN_SIDE) if look.size]
    return SIDE if sizes and float(np.median([min(size) for size in sizes])) >= SMALL else SIDE // 2


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """A map that two checks find inverted is inverted once."""
    return list({(each.name, each.kind, each.check): each for each in reversed(findings)}.values())[::-1]


def _broken(folder: str | Path | None) -> Iterator[Finding]:
    if folder is not None and is_prepared(folder):
        for told in ShardSet.load([folder]).verify():
            yield Finding(told.partition(" is ")[0], "file is not what was written", told)


def sorts(found: Audit) -> list[tuple[str, str, list[Finding]]]:
    """The findings by sort: "fault" or "note", in words, and all of them; faults first, the most frequent before."""
    by: dict[tuple[bool, str], list[Finding]] = {}
    for each in found.findings:
        by.setdefault((each.serious, f"{each.kind}: {each.check}" if each.kind else each.check), []).append(each)
    ordered = sorted(by.items(), key=lambda item: (not item[0][0], -len(item[1]), item[0][1]))
    return [("fault" if serious else "note", what, findings) for (serious, what), findings in ordered]


def summary(found: Audit) -> list[str]:
    """One line for each sort of finding, with how many there are and the first of them."""
    lines = []
    for weight, what, (first, *others) in sorts(found):
        told = f"{first.name}: {first.detail}" if first.detail else first.name
        lines.append(f"{weight}  {1 + len(others)} × {what} (first {told})")
    return lines


def facts(found: Audit) -> dict[str, Any]:
    """The set in numbers, as JSON values: samples, sizes and splits with their counts, captions, kinds of maps."""
    sizes = Counter(look.size for look in found.looks if look.size)
    captions = Counter(look.texts[0] for look in found.looks if look.texts)
    words = [len(text.split()) for look in found.looks for text in look.texts[:1]]
    return {
        "source": found.source,
        "samples": len(found.looks),
        "sizes": {f"{width}×{height}": count for (width, height), count in sizes.most_common()},
        "splits": dict(Counter(look.split or "none" for look in found.looks).most_common()),
        "captioned": sum(captions.values()),
        "different captions": len(captions),
        "words": float(np.median(words)) if words else 0.0,
        "maps": {
            kind: {
                "count": sum(kind in look.maps for look in found.looks),
                "laid over pictures by": found.aligned[kind],
            }
            for kind in found.kinds
        },
        "faults": sum(each.serious for each in found.findings),
        "faulty samples": len({each.name for each in found.findings if each.serious}),
    }
