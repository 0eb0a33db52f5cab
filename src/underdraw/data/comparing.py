"""What shows only when the samples of a set are compared: duplicates, captions of many, maps unlike the others."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from underdraw.data.alignment import judge
from underdraw.data.duplicates import Twins
from underdraw.data.looking import Finding, Look
from underdraw.data.sources import POSE, channels_of, reduction_of

__all__ = ["misaligned", "missing", "polarity", "same_words", "strange_colours", "twins"]

FEWEST = 8
"""Maps of a kind below which they are not compared."""
INVERTED = "map is inverted"
FEW = 0.2
"""Share of the maps called inverted from which that is a matter of the whole set, and nothing is taken back."""
ALONG = 0.6
"""Median correlation with their pictures, or with the usual map, from which maps of a kind are usually alike."""
AGAINST = -0.4
"""Correlation under which one of them is inverted."""
COMMON = 0.03
"""Share of the maps in which a colour must occur to belong to the palette of a kind."""
LABELLED = 0.9
"""Share of the area that the palette must fill in most maps for the kind to be one of labels."""
STRANGE = 0.3
"""Share of the area in other colours from which a map is painted in another palette."""
OFTEN = 0.05
"""Share of the pictures that may have the same caption."""


def twins(looks: Sequence[Look]) -> Iterator[Finding]:
    """Pictures that are there twice; worst where one of them is for training and the other for judging."""
    known, split = Twins(), {look.name: look.split for look in looks}
    for look in looks:
        if look.size is None:
            continue
        same = known.same(look.content)
        if other := same or next(iter(known.near(look.fingerprint)), None):
            check = "picture is there twice" if same else "picture is nearly another one"
            check = check if split[other] == look.split else "picture is in two splits"
            yield Finding(look.name, check, f"as {other}")
        known.add(look.name, look.content, look.fingerprint)


def same_words(looks: Sequence[Look]) -> Iterator[Finding]:
    """A caption that many pictures share says nothing about any of them."""
    counts = Counter(look.texts[0] for look in looks if look.texts)
    for text, count in counts.items():
        if count > max(3, OFTEN * len(looks)):
            first = next(look.name for look in looks if look.texts[:1] == (text,))
            yield Finding(first, "caption is that of many", f"{count} pictures: {text[:50]}", serious=False)


def missing(looks: Sequence[Look]) -> Iterator[Finding]:
    """Maps of a kind that most samples have; those that could not be read are told already."""
    counts = Counter(kind for look in looks for kind in look.maps)
    for kind, count in sorted(counts.items()):
        for look in looks:
            told = any(finding.kind == kind for finding in look.findings)
            if look.size and kind not in look.maps and not told and count > len(looks) / 2:
                yield Finding(look.name, "map is missing", "", kind)


def misaligned(looks: Sequence[Look], kind: str) -> tuple[str, list[Finding]]:
    """By what the maps of a kind were laid over their pictures ("": that tells nothing), and those that do not fit."""
    with_map = [look for look in looks if kind in look.maps]
    way, verdicts = judge([look.maps[kind].fit for look in with_map])
    found = [(look, verdict) for look, verdict in zip(with_map, verdicts, strict=True) if verdict]
    return way, [Finding(look.name, f"map is {verdict.name}", verdict.told, kind) for look, verdict in found]


def polarity(looks: Sequence[Look], kind: str) -> tuple[list[Finding], list[Finding]]:
    """Maps that are dark where they should be bright; and findings of inverted maps to be taken back.

    Where maps of a kind usually go with the brightness of their pictures (luminance), they are compared with that;
    where they are usually alike (depth: near below), with the usual map. One map alone may look inverted for what its
    picture shows: where few are called inverted, those that go with the others are not.
    """
    with_map = [look for look in looks if kind in look.maps and float(look.maps[kind].thumb.std()) > 1e-3]
    if channels_of(kind) == 3 or reduction_of(kind) == "nearest" or len(with_map) < FEWEST:
        return [], []
    thumbs = _unit(torch.stack([look.maps[kind].thumb.flatten() for look in with_map]))
    likes = [look.maps[kind].like for look in with_map], (thumbs @ _unit(thumbs.median(0).values)).tolist()
    found = next((each for each in likes if float(np.median(each)) >= ALONG), None)
    if found is None:
        return [], []
    scores = {look.name: score for look, score in zip(with_map, found, strict=True)}
    told = "dark where others of its kind are bright"
    against = [Finding(name, INVERTED, told, kind) for name, score in scores.items() if score < AGAINST]
    called = [each for look in with_map for each in look.findings if (each.kind, each.check) == (kind, INVERTED)]
    few = len(called) < FEW * len(with_map)
    return against, [each for each in called if few and scores[each.name] > 0]


def _unit(rows: Tensor) -> Tensor:
    """With mean 0 and length 1, so that products are correlations."""
    centred = rows - rows.mean(-1, keepdim=True)
    unit: Tensor = centred / centred.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    return unit


def strange_colours(looks: Sequence[Look], kind: str) -> Iterator[Finding]:
    """Label maps whose colours no other map has."""
    if kind == POSE or reduction_of(kind) != "nearest":
        return
    with_map = [look for look in looks if kind in look.maps and len(look.maps[kind].colours) > 1]
    counts = Counter(colour for look in with_map for colour in look.maps[kind].colours)
    palette = {colour for colour, count in counts.items() if count > max(1, COMMON * len(with_map))}
    shares = [(look, look.maps[kind].colours) for look in with_map]
    known = [sum(share for colour, share in each.items() if colour in palette) for _, each in shares]
    if len(with_map) < FEWEST or float(np.median(known)) < LABELLED:
        return
    for (look, _), share in zip(shares, known, strict=True):
        if share < 1 - STRANGE:
            yield Finding(look.name, "map has another palette", f"{1 - share:.0%} in colours of its own", kind)
