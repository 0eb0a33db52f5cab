"""Text as one value; and the public face of the package."""

import pytest
import torch

import underdraw.model
from underdraw.errors import InputError
from underdraw.model import Text, join


def some_text(count: int, seed: int = 0) -> Text:
    generator = torch.Generator().manual_seed(seed)
    return Text(torch.randn(count, 5, 8, generator=generator), torch.randn(count, 6, generator=generator))


def same(left: Text, right: Text) -> bool:
    pairs = [(left.states, right.states), (left.pooled, right.pooled), (left.time_ids, right.time_ids)]
    return all((a is None and b is None) or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def test_joining_and_choosing_are_inverses() -> None:
    first, second = some_text(2).sized(64, 32), some_text(3, seed=1).sized(16, 8)
    both = join([first, second])
    assert len(both) == 5
    assert same(both[:2], first)
    assert same(both[torch.tensor([2, 3, 4])], second)


def test_parts_that_not_all_texts_have_are_left_out() -> None:
    assert join([some_text(1), Text(torch.zeros(1, 5, 8))]).pooled is None
    with pytest.raises(InputError, match="no text"):
        join([])


def test_prompt_dropout_replaces_whole_prompts() -> None:
    text, empty = some_text(3).sized(8, 8), some_text(1, seed=1).sized(8, 8)
    dropped = text.where(torch.tensor([True, False, True]), empty)
    assert same(dropped[torch.tensor([0, 2])], text[torch.tensor([0, 2])])
    assert same(dropped[1:2], empty)


def test_sizes_are_told_as_sdxl_wants_them() -> None:
    sized = some_text(2).sized(width=1024, height=768)
    assert sized.time_ids is not None
    assert sized.time_ids.tolist() == [[768, 1024, 0, 0, 768, 1024]] * 2


def test_casting_reaches_every_part() -> None:
    cast = some_text(1).sized(8, 8).to(torch.float64)
    assert [part.dtype for part in (cast.states, cast.pooled, cast.time_ids) if part is not None] == [torch.float64] * 3


def test_the_public_face_is_sorted_and_real() -> None:
    names = underdraw.model.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name.islower(), name))
    assert all(hasattr(underdraw.model, name) for name in names)
