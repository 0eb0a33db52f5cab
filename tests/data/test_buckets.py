import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from underdraw.data.batches import batch_indices
from underdraw.data.buckets import SLACK, bucket_batch, bucket_of, bucket_sizes, enlargement


@given(st.integers(1, 16), st.integers(1, 16), st.sampled_from([8, 32, 64]), st.floats(1, 4))
def test_buckets_are_multiples_near_the_wanted_area(across: int, down: int, step: int, stretch: float) -> None:
    size = across * step, down * step
    found = bucket_sizes(size, step, stretch)
    assert size in found and len(set(found)) == len(found)
    for width, height in set(found) - {size}:
        assert width % step == height % step == 0
        assert 1 / SLACK <= width * height / (across * down * step**2) <= SLACK
        assert max(width, height) <= stretch * min(width, height)


def test_usual_buckets_lose_little() -> None:
    """Common proportions lose less than a tenth of the picture at 512 px."""
    sizes = bucket_sizes((512, 512))
    for picture in ((640, 480), (480, 640), (1920, 1080), (3000, 2000), (1000, 1000), (1080, 1350)):
        width, height = sizes[bucket_of(picture, sizes)]
        ratio = width / height * picture[1] / picture[0]
        assert min(ratio, 1 / ratio) > 0.9, picture


def test_enlargement() -> None:
    assert enlargement((100, 200), (50, 50)) == 0.5
    assert enlargement((100, 50), (100, 100)) == 2


def members(counts: list[int]) -> list[torch.Tensor]:
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(1))
    return [part.sort().values for part in order.split(counts)]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 9), st.integers(0, 3))
def test_batches_are_of_one_bucket_and_every_epoch_sees_all(counts: list[int], size: int, seed: int) -> None:
    """After any number of whole epochs, every picture was seen as often as every other, but for the batch under way."""
    owned = members(counts)
    epochs = 3
    steps = sum(-(-epochs * count // size) for count in counts)
    seen = torch.zeros(sum(counts), dtype=torch.long)
    for step in range(steps):
        batch = bucket_batch(seed, step, size, owned)
        assert len(batch) == size and any(set(batch.tolist()) <= set(own.tolist()) for own in owned)
        seen += torch.bincount(batch, minlength=sum(counts))
    for own in owned:
        extra = -(-epochs * len(own) // size) * size - epochs * len(own)
        assert int(seen[own].min()) >= epochs and int(seen[own].sum()) == epochs * len(own) + extra


def test_one_bucket_is_the_usual_order() -> None:
    own = [torch.arange(10) + 5]
    for step in range(7):
        assert torch.equal(bucket_batch(3, step, 4, own), own[0][batch_indices(3, step, 4, 10)])


def test_the_order_is_a_function_of_seed_and_step() -> None:
    owned = members([12, 7, 20])
    forward = [bucket_batch(5, step, 4, owned).tolist() for step in range(30)]
    backward = [bucket_batch(5, step, 4, owned).tolist() for step in reversed(range(30))]
    assert forward == backward[::-1]
    assert forward != [bucket_batch(6, step, 4, owned).tolist() for step in range(30)]
    firsts = [next(number for number, own in enumerate(owned) if batch[0] in own) for batch in forward]
    assert len(set(firsts[:8])) > 1  # the buckets are mixed, not one after the other
