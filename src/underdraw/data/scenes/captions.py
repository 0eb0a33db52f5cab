"""Captions in English and Chinese that say only what is to be seen; both say the same.

A caption is a few clauses about things and how they stand to each other, and sometimes the room and the hour.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from torch import Tensor

from underdraw.data.scenes.parts import Scene, Thing, Vector
from underdraw.data.scenes.vocabulary import COLOURS, TIMES
from underdraw.data.scenes.words import Both, Sight, noun

VISIBLE_SHARE = 0.003
"""Share of the picture's pixels that a thing must cover to be named."""
MOST_WORDS = 30
"""Longest English caption; with commas about 40 tokens of CLIP's 77."""
FLOORS: dict[str, Both] = {
    "planks": ("wooden floor", "木地板"),
    "parquet": ("parquet floor", "拼花木地板"),
    "tiles": ("tiled floor", "瓷砖地面"),
    "weave": ("carpet", "地毯地面"),
    "speckle": ("stone floor", "石头地面"),
    "marble": ("marble floor", "大理石地面"),
}
"""Floors by their pattern."""
SCENERY = ("window", "curtain", "picture", "door", "rug")
"""Kinds that a caption is not about, if there is anything else."""


def sights(scene: Scene, shares: Mapping[int, float], points: Tensor) -> list[Sight]:
    """What is seen of a scene, largest first. shares: part of the picture by thing index; points: P×18×3 keypoints."""
    numbers = {figure.thing: number for number, figure in enumerate(scene.figures)}
    found = []
    for index, share in shares.items():
        if share < VISIBLE_SHARE:
            continue
        thing = scene.things[index]
        if index in numbers:
            figure, body = scene.figures[numbers[index]], points[numbers[index]]
            found.append(Sight(index, thing, share, _from_camera(scene, figure.points[8]), figure, body))
        else:
            found.append(Sight(index, thing, share, _from_camera(scene, _middle(thing))))
    return sorted(found, key=lambda sight: -sight.share)


def describe(scene: Scene, seen: Sequence[Sight]) -> Both:
    """A caption of what is seen (see `sights`), English and Chinese, at most 30 English words; seeded by the scene."""
    rng = Random(f"underdraw captions {scene.seed}")
    first = rng.choice(("short", "medium", "medium", "full", "full"))
    captions = (_speak(rng, scene, seen, length) for length in (first, "medium", "short", "short"))
    caption = min(_first_short(captions), key=lambda both: len(both[0].split()))
    return _with_articles(caption[0]), caption[1]


def _first_short(captions: Iterator[Both]) -> list[Both]:
    """The captions up to the first that is short enough."""
    tried = []
    for caption in captions:
        tried.append(caption)
        if len(caption[0].split()) <= MOST_WORDS:
            break
    return tried


def _middle(thing: Thing) -> Vector:
    x, y, z = thing.position
    return (x, y + thing.height / 2, z)


def _from_camera(scene: Scene, point: Vector) -> Vector:
    """(right, up, forward) in metres."""
    offset = [p - e for p, e in zip(point, scene.camera.position, strict=True)]
    frame = scene.camera.rotation
    right, up, back = (sum(frame[row][column] * offset[row] for row in range(3)) for column in range(3))
    return (right, up, -back)


def _speak(rng: Random, scene: Scene, seen: Sequence[Sight], length: str) -> Both:
    """One caption: short is a clause, medium two, full up to three and always with the room or the hour."""
    things = [sight for sight in seen if sight.thing.kind not in SCENERY] or list(seen)
    if not things:
        return _room(rng, scene, named=True)
    weights = [math.sqrt(sight.share) * (2.5 if sight.figure else 1.0) for sight in things]
    hero = rng.choices(things, weights)[0] if length == "short" else things[weights.index(max(weights))]
    clause, used = _clause(rng, hero, seen)
    if length == "short":
        return clause if rng.random() < 0.7 else _ending(clause, _where(rng, scene))
    clauses = [clause]
    for _ in range(1 if length == "medium" else rng.choice((1, 2, 2))):
        rest = [sight for sight in seen if sight.index not in used]
        if rest:
            picked = rng.choices(rest, [math.sqrt(sight.share) for sight in rest])[0]
            more, also = _clause(rng, picked, rest)
            clauses.append(more)
            used |= also
    together = _list(clauses)
    if length == "medium" and rng.random() < 0.4:
        return together
    return _ending(together, _where(rng, scene)) if rng.random() < 0.6 else _framed(rng, scene, together)


def _clause(rng: Random, sight: Sight, others: Sequence[Sight]) -> tuple[Both, set[int]]:
    """A noun phrase, mostly with a relation to one of the others; and the indices of the things it names."""
    own = noun(rng, sight)
    support = next((other for other in others if other.index == sight.thing.on), None)
    if support is not None and rng.random() < 0.85:
        base = noun(rng, support)
        link = "" if sight.figure else "的"
        return (f"{own[0]} on {base[0]}", f"{base[1]}上{link}{own[1]}"), {sight.index, support.index}
    burden = [other for other in others if other.thing.on == sight.index and other.figure is None]
    if burden and rng.random() < 0.7:
        top = rng.choice(burden)
        small = noun(rng, top)
        return (f"{own[0]} with {small[0]} on it", f"{own[1]}，上面放着{small[1]}"), {sight.index, top.index}
    near = [o for o in others if o.index != sight.index and o.thing.kind not in SCENERY and o.thing.on is None]
    if sight.thing.kind not in SCENERY and rng.random() < 0.6 and near:
        other = rng.choice(near[:3])
        relation = relate(sight, other)
        if relation is not None:
            base = noun(rng, other)
            return (f"{own[0]} {relation[0]} {base[0]}", f"{base[1]}{relation[1]}的{own[1]}"), {
                sight.index,
                other.index,
            }
    return own, {sight.index}


def relate(a: Sight, b: Sight) -> Both | None:
    """How a stands to b as the camera sees it, or None where no word is plainly right.

    behind, in front: one above the other on the picture's vertical, at least 0.6 m apart in depth. beside: both on the
    floor, less than a metre apart. left, right: at least 11 degrees and 0.3 m apart.
    """
    if a.thing.on is not None and (a.figure is None or a.thing.on == b.index):
        return None
    aside, deeper = a.place[0] - b.place[0], a.place[2] - b.place[2]
    angle = a.place[0] / max(a.place[2], 0.2) - b.place[0] / max(b.place[2], 0.2)
    on_floor = a.thing.position[1] < 0.1 and b.thing.position[1] < 0.1
    if abs(angle) < 0.12 and abs(deeper) > 0.6 and on_floor:
        return ("behind", "后面") if deeper > 0 else ("in front of", "前面")
    if abs(deeper) < 0.45 and abs(aside) < 1.0 and abs(angle) > 0.1 and on_floor:
        return ("beside", "旁边")
    if abs(angle) > 0.2 and abs(aside) > 0.3:
        return ("to the right of", "右边") if angle > 0 else ("to the left of", "左边")
    return None


def _walls(scene: Scene) -> Both:
    name = scene.room.wall.colour
    return name, COLOURS[name].chinese


def _room(rng: Random, scene: Scene, named: bool) -> Both:
    """The room itself; `named` asks for the floor, too."""
    wall, floor = _walls(scene), FLOORS[scene.room.floor.pattern]
    if named or rng.random() < 0.3:
        return f"a room with {wall[0]} walls and a {floor[0]}", f"{wall[1]}墙壁和{floor[1]}的房间"
    return f"a room with {wall[0]} walls", f"{wall[1]}墙壁的房间"


def _where(rng: Random, scene: Scene) -> Both:
    """Room or light or both, to end a caption."""
    way = rng.random()
    light = rng.choice(TIMES[scene.light.time_of_day][:2])
    wall = _walls(scene)
    inside = (f"in a {wall[0]} room", f"{wall[1]}的房间里")
    if way < 0.35:
        return light
    if way < 0.65:
        return inside
    return f"{inside[0]}, {light[0]}", f"{light[1]}，{inside[1]}"


def _framed(rng: Random, scene: Scene, things: Both) -> Both:
    """The room or the hour first, then the things."""
    light = TIMES[scene.light.time_of_day][2]
    if rng.random() < 0.5:
        return f"{light[0]}: {things[0]}", f"{light[1]}：{things[1]}"
    room = _room(rng, scene, named=False)
    return f"{room[0]}, {things[0]}", f"{room[1]}，{things[1]}"


def _ending(things: Both, where: Both) -> Both:
    comma = "" if where[0].startswith("in a ") else ","
    return f"{things[0]}{comma} {where[0]}", f"{where[1]}，{things[1]}"


def _list(clauses: Sequence[Both]) -> Both:
    if len(clauses) == 1:
        return clauses[0]
    english = ", ".join(clause[0] for clause in clauses[:-1]) + f" and {clauses[-1][0]}"
    return english, "，".join(clause[1] for clause in clauses)


def _with_articles(english: str) -> str:
    """a → an before a vowel."""
    words = english.split(" ")
    following = [*words[1:], ""]
    pairs = zip(words, following, strict=True)
    return " ".join("an" if word == "a" and after[:1] in set("aeiou") else word for word, after in pairs)
