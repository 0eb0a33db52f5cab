"""The words and colours of the rooms: classes, colours, materials, and their English and Chinese names."""

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Kind:
    """One semantic class: its names, the Chinese measure word, and its colour in segmentation maps (sRGB, 0-255)."""

    english: str
    chinese: str
    measure: str
    rgb: tuple[int, int, int]


KINDS: dict[str, Kind] = {
    "wall": Kind("wall", "墙", "面", (200, 190, 175)),
    "floor": Kind("floor", "地板", "片", (120, 85, 55)),
    "ceiling": Kind("ceiling", "天花板", "片", (235, 235, 220)),
    "window": Kind("window", "窗户", "扇", (110, 190, 255)),
    "curtain": Kind("curtain", "窗帘", "幅", (180, 130, 220)),
    "door": Kind("door", "门", "扇", (150, 60, 20)),
    "picture": Kind("picture", "画", "幅", (255, 170, 40)),
    "rug": Kind("rug", "地毯", "块", (190, 60, 100)),
    "table": Kind("table", "桌子", "张", (230, 120, 60)),
    "chair": Kind("chair", "椅子", "把", (70, 150, 60)),
    "sofa": Kind("sofa", "沙发", "张", (40, 90, 190)),
    "bed": Kind("bed", "床", "张", (130, 50, 160)),
    "shelf": Kind("shelf", "书架", "个", (100, 110, 20)),
    "cupboard": Kind("cupboard", "柜子", "个", (20, 120, 120)),
    "stool": Kind("stool", "凳子", "个", (160, 220, 60)),
    "lamp": Kind("lamp", "灯", "盏", (255, 240, 60)),
    "plant": Kind("plant", "植物", "盆", (20, 190, 70)),
    "vase": Kind("vase", "花瓶", "个", (240, 110, 190)),
    "book": Kind("book", "书", "本", (90, 60, 110)),
    "cushion": Kind("cushion", "靠垫", "个", (250, 190, 190)),
    "ball": Kind("ball", "球", "个", (230, 30, 40)),
    "box": Kind("box", "盒子", "个", (0, 60, 110)),
    "cone": Kind("cone", "圆锥", "个", (0, 230, 210)),
    "pyramid": Kind("pyramid", "金字塔", "个", (170, 150, 0)),
    "cylinder": Kind("cylinder", "圆柱", "个", (90, 255, 140)),
    "person": Kind("mannequin", "人偶", "个", (255, 90, 0)),
}
"""Semantic classes; a label is the position in this table."""

LABELS: dict[str, int] = {name: label for label, name in enumerate(KINDS)}


@dataclass(frozen=True)
class Colour:
    """A named colour: its typical sRGB values and its Chinese name."""

    rgb: Rgb
    chinese: str


COLOURS: dict[str, Colour] = {
    "red": Colour((0.80, 0.12, 0.11), "红色"),
    "orange": Colour((0.93, 0.48, 0.12), "橙色"),
    "yellow": Colour((0.95, 0.78, 0.20), "黄色"),
    "green": Colour((0.26, 0.58, 0.26), "绿色"),
    "turquoise": Colour((0.16, 0.66, 0.64), "青色"),
    "blue": Colour((0.17, 0.36, 0.75), "蓝色"),
    "purple": Colour((0.48, 0.25, 0.62), "紫色"),
    "pink": Colour((0.93, 0.55, 0.66), "粉色"),
    "brown": Colour((0.46, 0.28, 0.16), "棕色"),
    "beige": Colour((0.85, 0.74, 0.56), "米色"),
    "white": Colour((0.93, 0.92, 0.89), "白色"),
    "grey": Colour((0.55, 0.56, 0.58), "灰色"),
    "black": Colour((0.10, 0.10, 0.11), "黑色"),
}


@dataclass(frozen=True)
class Substance:
    """A material: names and how it takes the light.

    specular: strength of highlights; gloss: their sharpness in [0, 1]; mirror: share of the reflected room; patterns:
    what may be painted on it.
    """

    english: str
    chinese: str
    specular: float
    gloss: float
    mirror: float
    patterns: tuple[str, ...]


SUBSTANCES: dict[str, Substance] = {
    "wood": Substance("wooden", "木", 0.16, 0.45, 0.03, ("wood",)),
    "metal": Substance("metal", "金属", 0.85, 0.75, 0.55, ("brushed",)),
    "fabric": Substance("fabric", "布艺", 0.02, 0.1, 0.0, ("weave", "weave", "stripes", "checks", "dots")),
    "leather": Substance("leather", "皮革", 0.30, 0.4, 0.04, ("speckle",)),
    "plastic": Substance("plastic", "塑料", 0.45, 0.7, 0.06, ("plain",)),
    "stone": Substance("stone", "石头", 0.08, 0.2, 0.0, ("speckle",)),
    "marble": Substance("marble", "大理石", 0.5, 0.8, 0.12, ("marble",)),
    "ceramic": Substance("ceramic", "陶瓷", 0.6, 0.85, 0.14, ("plain", "plain", "bands")),
    "rubber": Substance("rubber", "橡胶", 0.12, 0.3, 0.0, ("plain", "bands", "sectors")),
    "paper": Substance("paper", "纸", 0.02, 0.1, 0.0, ("plain", "stripes", "dots")),
    "plaster": Substance("plaster", "石膏", 0.03, 0.1, 0.0, ("plain",)),
}

PATTERNS: tuple[str, ...] = (
    "plain", "wood", "planks", "tiles", "stripes", "dots", "marble", "weave", "brick", "rug", "landscape", "abstract",
    "sunrise", "books", "folds", "panels", "checks", "parquet", "sectors", "bands", "brushed", "speckle",
    "wallpaper", "leaf",
)  # fmt: skip
"""Procedural textures, by position."""

POSES: dict[str, tuple[str, str]] = {
    "standing": ("standing", "站着"),
    "walking": ("walking", "在行走"),
    "running": ("running", "在奔跑"),
    "waving": ("waving", "在挥手"),
    "arms raised": ("raising both arms", "举起双臂"),
    "pointing": ("pointing", "伸手指向一边"),
    "hands on hips": ("standing with hands on hips", "双手叉腰站着"),
    "arms spread": ("spreading the arms", "张开双臂"),
    "dancing": ("dancing", "在跳舞"),
    "bowing": ("bowing", "在鞠躬"),
    "sitting": ("sitting", "坐着"),
    "sitting and waving": ("sitting and waving", "坐着挥手"),
}
"""Poses: English and Chinese what one is doing, to follow the noun."""

TIMES: dict[str, tuple[tuple[str, str], ...]] = {
    "morning": (("in the morning", "早晨"), ("in soft morning light", "柔和的晨光"), ("morning", "清晨")),
    "noon": (("at noon", "正午"), ("in bright daylight", "明亮的日光"), ("midday", "中午")),
    "sunset": (("at sunset", "日落时分"), ("in warm evening light", "温暖的夕阳"), ("evening", "傍晚")),
    "night": (("at night", "夜晚"), ("lit by a lamp at night", "夜晚的灯光"), ("night", "夜里")),
}
"""Times of day: two ways to end a sentence with, and one to begin it."""
