"""Buckets: pictures of like proportions are brought to one size, and a batch comes from one bucket.

Sizes are multiples of a step, with an area near the wanted one (as in kohya's and NovelAI's trainings).
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor

from underdraw.data.batches import batch_indices, permutation

__all__ = ["Size", "bucket_batch", "bucket_of", "bucket_sizes", "enlargement"]

Size = tuple[int, int]
"""(width, height) in pixels."""
SLACK = 1.25
"""How much larger, or smaller, the area of a bucket may be than that of the size: more buckets, and less is cut off."""


def bucket_sizes(size: Size, step: int = 64, stretch: float = 2.0) -> tuple[Size, ...]:
    """All bucket sizes around a size, from tall to wide.

    Sides are multiples of `step`, the area is that of `size` but for a fifth more or less, and no side is more than
    `stretch` times the other. `size` itself is always among them.
    """
    area = size[0] * size[1]
    sides = range(step, math.isqrt(int(SLACK * area * stretch)) + step, step)
    found = {
        (width, height)
        for width in sides
        for height in sides
        if area / SLACK <= width * height <= area * SLACK and max(width, height) <= stretch * min(width, height)
    }
    return tuple(sorted(found | {size}, key=lambda each: (each[0] / each[1], each)))


def bucket_of(picture: Size, sizes: Sequence[Size]) -> int:
    """The bucket whose proportions are nearest to a picture's: least is cut off, in the sense of ratios."""
    wanted = math.log(picture[0] / picture[1])
    return min(range(len(sizes)), key=lambda each: abs(math.log(sizes[each][0] / sizes[each][1]) - wanted))


def enlargement(picture: Size, bucket: Size) -> float:
    """How many times larger a picture becomes when it fills its bucket; below 1 it becomes smaller."""
    return max(bucket[0] / picture[0], bucket[1] / picture[1])


def bucket_batch(seed: int, step: int, size: int, members: Sequence[Tensor]) -> Tensor:
    """The pictures of one step: `size` indices from one bucket. members: the indices of each bucket, none empty.

    A function of (seed, step) alone, so a run that was cut off goes on exactly. Each bucket's pictures follow each
    other in permutations keyed by (seed, epoch) without a gap and are cut into batches; the batches that begin in one
    epoch are shuffled across the buckets. So in every epoch each picture is seen once, and none is dropped; in a bucket
    of fewer pictures than a batch they repeat. One bucket gives the order of `batch_indices`.
    """
    if len(members) == 1:
        return members[0][batch_indices(seed, step, size, len(members[0]))]
    counts = [len(each) for each in members]
    epoch = _epoch(step, size, counts)
    first = [_begun(count, size, epoch) for count in counts]
    many = [_begun(count, size, epoch + 1) - begun for count, begun in zip(counts, first, strict=True)]
    place = int(permutation(seed, epoch, sum(many))[step - sum(first)])
    bucket = bisect_right([sum(many[: each + 1]) for each in range(len(many))], place)
    batch = first[bucket] + place - sum(many[:bucket])
    return members[bucket][batch_indices(seed, batch, size, counts[bucket])]


def _begun(count: int, size: int, epoch: int) -> int:
    """How many batches of a bucket of `count` pictures begin before an epoch does."""
    return -(-epoch * count // size)


def _epoch(step: int, size: int, counts: Sequence[int]) -> int:
    """The epoch in which a step lies: the last that begins at or before it, and has a batch of its own."""
    low, high = 0, (step + 1) * size // max(1, sum(counts)) + 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sum(_begun(count, size, middle) for count in counts) <= step else (low, middle)
    return low
