from random import Random

from underdraw.data.exchange import exchange, things, wrong_caption

ROOM = {"objects": [{"kind": "sofa"}, {"kind": "vase"}, {"kind": "wall"}]}


def test_things_of_both_worlds() -> None:
    assert things(ROOM) == ["sofa", "vase"]
    assert things({"name_en": "red apple"}) == ["red apple"]
    assert things({}) == []


def test_the_new_word_takes_the_same_article_and_is_new() -> None:
    for seed in range(50):
        text = exchange("a red sofa beside a bed", ["sofa"], ["armchair", "bed", "box", "sofa", "vase"], Random(seed))
        assert text in ("a red box beside a bed", "a red vase beside a bed")
    assert exchange("an apple", ["apple"], ["box", "vase"], Random(0)) is None
    assert exchange("a sofa", ["bed"], ["box"], Random(0)) is None
    assert exchange("a sofa", ["sofa"], [], Random(0)) is None


def test_what_the_picture_shows_is_not_wrong() -> None:
    """The vase stands in the room, though the caption does not say so."""
    texts = {wrong_caption("a red sofa", ROOM, ["sofa", "vase", "bed"], Random(seed)) for seed in range(80)}
    assert "a red bed" in texts and "a red vase" not in texts
    assert any(text and text.endswith(" sofa") for text in texts)
    assert wrong_caption("一个蘑菇", {"name_en": "mushroom"}, ["fish"], Random(0)) is None
