"""What is said of a sticker, in English and Chinese: style, name, colour, keywords and background, in varied order."""

import re
from random import Random

from underdraw.data.stickers.backgrounds import WHITE, Background
from underdraw.data.stickers.colours import COLOURS
from underdraw.data.stickers.load import Sticker
from underdraw.data.stickers.names import Emoji

LONGEST = 30  # words
SINGULAR = re.compile("(us|ss|is)$")
PLURALS = {"people", "men", "women", "teeth", "feet"}
STUFF = re.compile("(rice|bread|sushi|meat|bacon|soap|tennis|fire|rock|wood|fog|water|popcorn|sake|money|oden|ice)$")
UNARTICLED = re.compile("o'clock|-thirty|^no |^not ")
TAIL = re.compile(r" (?:of|with|in|on|at|without|and|showing|from|to|over|behind|up|down|holding|facing|getting)\b.*")
COLOUR_WORDS = {*COLOURS, "gray", "violet", "golden", "blond", "rainbow"}


def caption(sticker: Sticker, colour: str | None, background: Background, random: Random) -> str:
    """The English caption: "a red mushroom, 3d sticker, on a light blue background".

    Keywords are left out where they would make it longer than LONGEST words.
    """
    ground = f"on {article(background.name)}{background.name} background" if _said(background, random) else ""
    subject, style = _subject(sticker.emoji, colour, random), sticker.style
    keywords = ", ".join(_keywords(sticker.emoji.keywords, random))
    titled, placed = f"{article(style)}{style} of {subject}", f"{subject} {ground}".strip()
    order = random.random()
    for words in (keywords, ""):
        text = ", ".join(_arrange(order, subject, style, words, ground, titled, placed))
        if len(text.split()) <= LONGEST:
            break
    return text


def caption_zh(sticker: Sticker, colour: str | None, background: Background, random: Random) -> str:
    """The Chinese caption: "红色蘑菇，3D贴纸，浅蓝色背景"."""
    ground = f"{background.name_zh}背景" if _said(background, random) else ""
    subject, style = _subject_zh(sticker.emoji, colour, random), sticker.style_zh
    keywords = "，".join(_keywords(sticker.emoji.keywords_zh, random))
    titled, placed = f"{style}：{subject}", f"{ground}上的{subject}" if ground else subject
    return "，".join(_arrange(random.random(), subject, style, keywords, ground, titled, placed))


def _arrange(order: float, subject: str, style: str, keywords: str, ground: str, titled: str, placed: str) -> list[str]:
    """The parts of a caption in one of four orders, by `order` in [0, 1); `titled` is "STYLE of SUBJECT", `placed`
    "SUBJECT on GROUND".
    """
    if order < 0.5:
        parts = (subject, keywords, style, ground)
    elif order < 0.65:
        parts = (titled, keywords, ground, "")
    elif order < 0.8:
        parts = (style, subject, keywords, ground)
    else:
        parts = (placed, keywords, style, "")
    return [part for part in parts if part]


def _subject(emoji: Emoji, colour: str | None, random: Random) -> str:
    """The name, sometimes with its article, sometimes with its colour: "mushroom", "a red mushroom"."""
    name = emoji.name
    if colour and emoji.coloured and random.random() < 0.5 and not COLOUR_WORDS & set(name.lower().split()):
        name = f"{colour} {name}"
    return (article(name) if random.random() < 0.5 and countable(emoji.name) else "") + name


def _subject_zh(emoji: Emoji, colour: str | None, random: Random) -> str:
    name = emoji.name_zh
    if colour and emoji.coloured and random.random() < 0.5 and not re.search("[红橙黄绿蓝紫粉棕黑灰白金]", name):
        name = COLOURS[colour] + random.choice(("", "的")) + name
    return ("一个" if random.random() < 0.3 and countable(emoji.name) else "") + name


def countable(name: str) -> bool:
    """Whether an article fits: not before proper names ("Mount Fuji"), plurals ("glasses"), stuff ("cooked rice")."""
    head = TAIL.sub("", name).split()[-1]
    plural = bool(PLURALS & set(name.split())) or (head.endswith("s") and not SINGULAR.search(head))
    return name[:1].islower() and not plural and not STUFF.match(head) and not UNARTICLED.search(name)


def article(name: str) -> str:
    """ "a " or "an ", by the first letters ("an orange", "a unicorn", "a one-piece swimsuit")."""
    vowel = name[:1].lower() in "aeiou" and not re.match("uni|one|eu|us|ut", name.lower())
    return "an " if vowel else "a "


def _said(background: Background, random: Random) -> bool:
    """White is what one expects and is mentioned one time in three; everything else always."""
    return background.tints != (WHITE,) or random.random() < 1 / 3


def _keywords(keywords: tuple[str, ...], random: Random) -> list[str]:
    """None in half of the captions, else one or two."""
    count = random.choice((0, 0, 1, 2))
    return random.sample(keywords, min(count, len(keywords)))
