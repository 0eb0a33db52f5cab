"""What one sample depends on of those before it: its key, whether it repeats one, whether it is watched."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from underdraw.data.captions import EMPTY, Captioner
from underdraw.data.duplicates import Fingerprint, Twins
from underdraw.data.making import Outcome, Sample
from underdraw.data.packing import Packed, Shard, to_json
from underdraw.data.preparation import Preparation
from underdraw.data.sources import Problem, Source

__all__ = ["Line", "Progress"]

LONGEST_KEY = 80


@dataclass(frozen=True)
class Progress:
    """What became of one entry: whether it was kept, whether an earlier run had done it, and what is wrong with it."""

    name: str
    kept: bool
    resumed: bool = False
    problems: tuple[Problem, ...] = ()


class Line:
    """Takes what became of the entries, in their order."""

    def __init__(self, source: Source, settings: Preparation, captioner: Captioner | None) -> None:
        self.settings, self.captioner = settings, captioner
        self.kinds = source.kinds
        self.splits = {str(entry.attributes["split"]) for entry in source.entries if entry.attributes.get("split")}
        self.twins = Twins()
        self.keys: set[str] = set()
        self.given: dict[str, str] = {}
        self.count = 0

    def recall(self, shard: Shard) -> Iterator[Progress]:
        """Remember the samples of a whole shard."""
        for line in shard.samples:
            print_ = bytes.fromhex(line["fingerprint"])
            self._remember(line["key"], line["source"], line["content"], line["given"], print_)
            yield Progress(line["source"], kept=True, resumed=True)
        for problem in shard.problems:
            if problem.loses:
                yield Progress(problem.name, kept=False, resumed=True, problems=(problem,))

    def take(self, outcome: Outcome) -> tuple[Packed | None, list[Problem]]:
        """The sample as it is packed, unless it repeats another one; and all that is wrong with it."""
        sample, problems = outcome.sample, list(outcome.problems)
        if sample is None:
            return None, problems
        if twin := self._twin(sample):
            return None, [twin]
        if not sample.texts and self.captioner:
            text = self.captioner(sample.pixels)
            sample = replace(sample, texts=(text,) if text else ())
            problems = [each for each in problems if each.what != EMPTY or not text]
        problems += self._missing(sample)
        key = _key(sample.name, self.keys)
        split = self._split(str(sample.attributes.get("split") or ""))
        self._remember(key, sample.name, sample.content, sample.given, sample.fingerprint)
        return _packed(sample, key, split), problems

    def _remember(self, key: str, name: str, content: str, given: str, print_: Fingerprint) -> None:
        self.keys.add(key)
        self.given[name] = given
        self.twins.add(name, (content, given), print_)
        self.count += 1

    def _twin(self, sample: Sample) -> Problem | None:
        """A sample whose maps are other ones is no duplicate, however alike the pictures are."""
        if self.settings.duplicates == "keep":
            return None
        if same := self.twins.same((sample.content, sample.given)):
            return Problem(sample.name, "picture is there twice", f"as {same}")
        if self.settings.duplicates == "drop":
            for name in self.twins.near(sample.fingerprint):
                if self.given[name] == sample.given:
                    return Problem(sample.name, "picture is nearly another one", f"as {name}")
        return None

    def _missing(self, sample: Sample) -> list[Problem]:
        lacking = [kind for kind in self.kinds if kind not in sample.made]
        return [Problem(sample.name, f"has no {kind} map", loses=False) for kind in lacking]

    def _split(self, told: str) -> str:
        """What the source says of a sample's split; but of one that watches nothing, a share is watched as of all.

        One of every 1 / watch samples is watched, and hashing says which one, so that they lie evenly.
        """
        if told and self.splits != {"train"}:
            return told
        if not self.settings.watch:
            return "train"
        size = max(2, round(1 / self.settings.watch))
        block, place = divmod(self.count, size)
        chosen = int.from_bytes(
            hashlib.blake2b(f"{self.settings.seed} {block}".encode(), digest_size=8).digest(), "big"
        )
        return "watch" if place == chosen % size else "train"


def _key(name: str, taken: set[str]) -> str:
    """What a sample is called in a tar: no dots (they part key and ending), no folders, never twice."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", name)
    plain = re.sub(r"[^\w-]+", "_", stem).strip("_")[-LONGEST_KEY:] or "picture"
    key, number = plain, 1
    while key in taken:
        number += 1
        key = f"{plain}-{number}"
    return key


def _packed(sample: Sample, key: str, split: str) -> Packed:
    about = {"source": sample.name, "size": sample.size, "split": split, "texts": sample.texts}
    told = {name: value for name, value in sample.attributes.items() if name != "text"}
    told |= {"split": split, "texts": sample.texts}
    told["underdraw"] = {"source": sample.name, "source_size": sample.source_size, "maps": sample.made}
    words = {"txt": (sample.texts[0] if sample.texts else "").encode(), "json": to_json(told).encode()}
    digests = {"content": sample.content, "given": sample.given, "fingerprint": sample.fingerprint.hex()}
    return Packed(key, dict(sample.files) | words, about | digests)
