"""Furniture that stands on the floor: builders of Things in their own frame (origin on the floor, facing +z)."""

from random import Random

from underdraw.data.scenes.finishes import blend, choose, jitter, patterned, plain, shade
from underdraw.data.scenes.parts import BLOCK, FRUSTUM, Finish, Part, Seat, Surface, Thing, Vector
from underdraw.data.scenes.vocabulary import COLOURS

FABRICS = ("fabric", "fabric", "fabric", "leather")


def block(centre: Vector, half: Vector, finish: Finish, ratio: float = 1.0) -> Part:
    """A box given by its centre and half sizes; `ratio` shrinks its top."""
    return Part(BLOCK, centre, (*half, ratio), finish)


def post(centre: Vector, bottom: float, top: float, half: float, finish: Finish) -> Part:
    """An upright round post, cone or disc given by its centre, radii and half height."""
    return Part(FRUSTUM, centre, (bottom, top, half, 0.0), finish)


def legs(x: float, z: float, height: float, thickness: float, finish: Finish, is_round: bool) -> list[Part]:
    """Four legs at (±x, ±z)."""
    corners = [(sx * x, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    if is_round:
        return [post((a, height / 2, b), thickness * 0.75, thickness, height / 2, finish) for a, b in corners]
    return [block((a, height / 2, b), (thickness, height / 2, thickness), finish) for a, b in corners]


def table(rng: Random, low: bool = False) -> Thing:
    """A rectangular or round table; `low` makes a coffee table."""
    finish = choose(rng, ("wood", "wood", "wood", "metal", "plastic", "marble"))
    under = finish if finish.substance == "wood" else choose(rng, ("metal", "wood"))
    height = rng.uniform(0.38, 0.46) if low else rng.uniform(0.70, 0.78)
    thick = rng.uniform(0.018, 0.035)
    if rng.random() < 0.35:
        radius = rng.uniform(0.40, 0.62)
        parts = [post((0, height - thick, 0), radius, radius, thick, finish)]
        foot = radius * 0.55
        parts.append(post((0, 0.02, 0), foot, foot * 0.9, 0.02, under))
        middle = (height - 2 * thick - 0.04) / 2
        parts.append(post((0, 0.04 + middle, 0), 0.05, 0.05, middle, under))
        x = z = radius
        inner = radius * 0.68
        surface = Surface((0, height, 0), (inner, inner))
    else:
        x, z = rng.uniform(0.42, 0.80), rng.uniform(0.32, 0.46)
        parts = [block((0, height - thick, 0), (x, thick, z), finish)]
        thickness = rng.uniform(0.022, 0.045)
        reach = thickness + rng.uniform(0.0, 0.06)
        top = height - 2 * thick
        parts += legs(x - reach, z - reach, top, thickness, under, rng.random() < 0.4)
        if rng.random() < 0.4:
            apron = 0.04
            parts.append(block((0, top - apron, z - reach), (x - reach - thickness, apron, 0.01), under))
            parts.append(block((0, top - apron, -z + reach), (x - reach - thickness, apron, 0.01), under))
        surface = Surface((0, height, 0), (x - 0.02, z - 0.02))
    return Thing("table", finish, tuple(parts), (x, z), height, (surface,))


def chair(rng: Random, finish: Finish | None = None) -> Thing:
    """A chair with a back."""
    finish = finish or choose(rng, ("wood", "wood", "plastic", "metal", "fabric"))
    frame = finish if finish.substance != "fabric" else choose(rng, ("wood", "metal"))
    height, x, z, thick = rng.uniform(0.43, 0.47), rng.uniform(0.20, 0.24), rng.uniform(0.20, 0.23), 0.022
    top = rng.uniform(0.82, 1.0)
    seat = block((0, height - thick, 0), (x, thick, z), finish)
    parts = [seat, *legs(x - 0.025, z - 0.025, height - 2 * thick, 0.02, frame, rng.random() < 0.5)]
    if rng.random() < 0.5:
        middle = (height + top) / 2 + 0.04
        parts.append(block((0, middle, -z + 0.018), (x, (top - height) / 2 - 0.04, 0.018), finish))
        for side in (-1, 1):
            parts.append(block((side * (x - 0.05), height + 0.04, -z + 0.018), (0.018, 0.04, 0.015), frame))
    else:
        rail = (top - height) / 2
        for side in (-1, 1):
            parts.append(block((side * (x - 0.02), height + rail, -z + 0.02), (0.02, rail, 0.02), frame))
        for level in range(rng.choice((2, 3))):
            y = top - 0.05 - level * 0.13
            parts.append(block((0, y, -z + 0.02), (x - 0.04, 0.035, 0.012), finish))
    return Thing(
        "chair", finish, tuple(parts), (x, z), top, (Surface((0, height, 0.02), (x - 0.04, z - 0.06)),),
        (Seat((0, height, z)),),
    )  # fmt: skip


def stool(rng: Random) -> Thing:
    """A round or square stool."""
    finish = choose(rng, ("wood", "plastic", "metal", "fabric", "leather"))
    height, radius = rng.uniform(0.42, 0.5), rng.uniform(0.16, 0.21)
    thick = 0.025 if finish.substance not in ("fabric", "leather") else 0.05
    under = finish if thick < 0.05 and finish.substance != "plastic" else choose(rng, ("wood", "metal"))
    top = height - 2 * thick
    if rng.random() < 0.6:
        parts = [post((0, height - thick, 0), radius, radius * 0.96, thick, finish)]
    else:
        parts = [block((0, height - thick, 0), (radius, thick, radius), finish)]
    parts += legs(radius * 0.62, radius * 0.62, top, 0.02, under, True)
    surface = Surface((0, height, 0), (radius * 0.6, radius * 0.6))
    seat = Seat((0, height, radius))
    return Thing("stool", finish, tuple(parts), (radius, radius), height, (surface,), (seat,))


def sofa(rng: Random) -> Thing:
    """A sofa or an armchair with two arms."""
    finish = choose(rng, FABRICS)
    foot = choose(rng, ("wood", "metal"))
    x, z, base, seat_height = (
        rng.choice((0.44, 0.78, 0.92, 1.0)),
        rng.uniform(0.38, 0.44),
        0.10,
        rng.uniform(0.42, 0.46),
    )
    arm, back, top = rng.uniform(0.07, 0.11), rng.uniform(0.08, 0.11), rng.uniform(0.74, 0.88)
    arm_top = rng.uniform(0.56, 0.64)
    parts = legs(x - 0.06, z - 0.06, base, 0.025, foot, True)
    inner = x - 2 * arm
    body = (seat_height - 0.13 - base) / 2
    front = z - 0.02
    parts.append(block((0, base + body, 0), (inner, body, front), shade(finish, 0.9)))
    for side in (-1, 1):
        half = (arm_top - base) / 2
        parts.append(block((side * (x - arm), base + half, 0), (arm, half, z), finish, 0.96))
    half = (top - base - 2 * body) / 2
    parts.append(block((0, base + 2 * body + half, -z + back), (inner, half, back), finish, 0.97))
    seats = 1 if x < 0.5 else 2 if x < 0.95 else 3
    width = inner / seats
    depth = (front - (-z + 2 * back)) / 2
    middle = front - depth
    for index in range(seats):
        centre = (-inner + width * (2 * index + 1), seat_height - 0.065, middle)
        parts.append(block(centre, (width - 0.006, 0.065, depth), finish, 0.985))
    spots = tuple(Seat((-inner + width * (2 * i + 1), seat_height, front)) for i in range(seats))
    surface = Surface((0, seat_height, middle), (inner - 0.03, depth - 0.03))
    return Thing("sofa", finish, tuple(parts), (x, z), top, (surface,), spots, name="armchair" if x < 0.5 else "")


def bed(rng: Random) -> Thing:
    """A bed with pillows and a blanket; the head is at -z."""
    frame = choose(rng, ("wood", "wood", "metal", "fabric"))
    cover = choose(rng, ("fabric",))
    linen = plain(jitter(rng, (0.93, 0.91, 0.87)), "fabric")
    x, z = rng.uniform(0.48, 0.8), 1.0
    board = rng.uniform(0.75, 1.05)
    parts = [
        *legs(x - 0.05, z - 0.06, 0.14, 0.03, frame, False),
        block((0, 0.21, 0.02), (x, 0.07, z - 0.02), frame),
        block((0, board / 2, -z + 0.0), (x, board / 2, 0.03), frame),
        block((0, 0.375, 0.03), (x - 0.03, 0.095, z - 0.06), linen, 0.99),
    ]
    reach = rng.uniform(0.35, 0.72)
    parts.append(block((0, 0.378, z - reach - 0.005), (x - 0.005, 0.11, reach), cover, 0.98))
    pillows = 1 if x < 0.6 else 2
    for index in range(pillows):
        width = (x - 0.08) / pillows
        centre = (-(x - 0.08) + width * (2 * index + 1), 0.53, -z + 0.26)
        parts.append(block(centre, (width - 0.03, 0.055, 0.17), shade(linen, 0.97), 0.82))
    surface = Surface((0, 0.488, z - reach - 0.01), (x - 0.15, reach - 0.12))
    seats = (Seat((0, 0.488, z - 0.01)),)
    return Thing("bed", cover, tuple(parts), (x, z + 0.03), board, (surface,), seats)


def shelf(rng: Random) -> Thing:
    """An open bookcase with rows of books and free boards."""
    finish = choose(rng, ("wood", "wood", "wood", "metal", "plastic"))
    x, z, top, thick = rng.uniform(0.35, 0.6), rng.uniform(0.14, 0.18), rng.uniform(1.0, 1.95), 0.016
    boards = max(2, round(top / rng.uniform(0.32, 0.42)))
    parts = [block((side * (x - thick), top / 2, 0), (thick, top / 2, z), finish) for side in (-1, 1)]
    parts.append(block((0, top / 2, -z + 0.006), (x - 2 * thick, top / 2, 0.006), shade(finish, 0.85)))
    gap = (top - 0.04) / boards
    surfaces = []
    inner = x - 2 * thick
    for level in range(boards + 1):
        y = 0.03 + level * gap - thick
        parts.append(block((0, y, 0.006), (inner, thick, z - 0.006), finish))
        if level == boards:
            break
        base, free = y + thick, gap - 2 * thick
        if rng.random() < 0.62:
            share = rng.uniform(0.35, 1.0)
            tall = free * rng.uniform(0.33, 0.44)
            colour = jitter(rng, COLOURS[rng.choice(("red", "blue", "green", "beige", "orange"))].rgb)
            spines = patterned(plain(colour, "paper"), "books", rng.uniform(0.05, 0.08))
            half = inner * share - 0.004
            side = rng.choice((-1, 1))
            parts.append(block((side * (inner - half - 0.004), base + tall, 0.0), (half, tall, z * 0.7), spines))
            left = inner - half - 0.01
            if left > 0.09:
                place = (-side * (inner - left), base, 0.01)
                surfaces.append(Surface(place, (left - 0.01, z - 0.03), free))
        else:
            surfaces.append(Surface((0, base, 0.01), (inner - 0.01, z - 0.03), free))
    parts_top = 0.03 + boards * gap
    surfaces.append(Surface((0, max(top, parts_top), 0), (x - 0.04, z - 0.03)))
    return Thing("shelf", finish, tuple(parts), (x, z), max(top, parts_top), tuple(surfaces))


def chest(rng: Random) -> Thing:
    """A low cupboard or chest of drawers."""
    return cupboard(rng, rng.uniform(0.68, 0.9))


def cupboard(rng: Random, top: float | None = None) -> Thing:
    """A closed cupboard, chest of drawers or wardrobe with knobs, `top` metres high."""
    finish = choose(rng, ("wood", "wood", "wood", "plastic", "metal"))
    x, z = rng.uniform(0.36, 0.62), rng.uniform(0.19, 0.26)
    top = top or rng.choice((rng.uniform(0.72, 0.95), rng.uniform(0.72, 0.95), rng.uniform(1.5, 1.9)))
    foot = rng.uniform(0.05, 0.14)
    knob = choose(rng, ("metal",))
    parts = legs(x - 0.04, z - 0.05, foot, 0.025, shade(finish, 0.8), False)
    lid = 0.015
    body = (top - 2 * lid - foot) / 2
    parts.append(block((0, foot + body, -0.012), (x - 0.012, body, z - 0.024), shade(finish, 0.92)))
    parts.append(block((0, top - lid, 0), (x, lid, z), finish))
    rows, columns = (rng.choice((2, 3)), 1) if rng.random() < 0.5 and top < 1.2 else (1, 2)
    for row in range(rows):
        for column in range(columns):
            half_x, half_y = (x - 0.02) / columns, body / rows
            centre = (-x + 0.02 + half_x * (2 * column + 1), foot + half_y * (2 * row + 1), z - 0.029)
            front = patterned(finish, "panels", 0.3) if rows == 1 else finish
            parts.append(block(centre, (half_x - 0.008, half_y - 0.01, 0.014), front))
            away = 0.0 if columns == 1 else (half_x - 0.05) * (1 if column == 0 else -1)
            place = (centre[0] + away, centre[1], z - 0.008)
            parts.append(block(place, (0.05 if columns == 1 else 0.012, 0.012 if columns == 1 else 0.05, 0.007), knob))
    surface = Surface((0, top, 0), (x - 0.03, z - 0.03))
    surfaces = (surface,) if top < 1.3 else ()
    return Thing("cupboard", finish, tuple(parts), (x, z), top, surfaces)


def plinth(rng: Random) -> Thing:
    """A simple low cylinder or box to show things on."""
    finish = choose(rng, ("stone", "marble", "wood", "plaster"), ("white", "grey", "beige", "brown"))
    half, height = rng.uniform(0.22, 0.32), rng.uniform(0.35, 0.7)
    if rng.random() < 0.5:
        part = post((0, height / 2, 0), half, half, height / 2, finish)
        return Thing("cylinder", finish, (part,), (half, half), height, (Surface((0, height, 0), (half * 0.7,) * 2),))
    part = block((0, height / 2, 0), (half, height / 2, half), finish)
    return Thing("box", finish, (part,), (half, half), height, (Surface((0, height, 0), (half - 0.03,) * 2),))


def rug(rng: Random) -> Thing:
    """A thin rug, round or rectangular, 4 mm high (things may stand on it)."""
    finish = choose(rng, ("fabric",))
    pattern = rng.choice(("rug", "rug", "stripes", "weave", "checks"))
    finish = patterned(finish, pattern, 0.25 if pattern != "weave" else 0.03, blend(finish.second, finish.rgb, 0.15))
    if rng.random() < 0.35:
        radius = rng.uniform(0.7, 1.1)
        return Thing("rug", finish, (post((0, 0.002, 0), radius, radius, 0.002, finish),), (radius, radius), 0.004)
    x, z = rng.uniform(0.8, 1.3), rng.uniform(0.6, 0.9)
    return Thing("rug", finish, (block((0, 0.002, 0), (x, 0.002, z), finish),), (x, z), 0.004)
