"""Words that people add to every prompt, by name. A recipe stores the prompt that they make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from underdraw.generation.recipe import Drawing
from underdraw.generation.wish import Wish
from underdraw.registry import Registry

__all__ = ["STYLES", "Style", "in_style", "styled"]


@dataclass(frozen=True)
class Style:
    """What comes behind a prompt, and behind a negative one."""

    prompt: str = ""
    negative: str = ""


STYLES: Registry[Style] = Registry("style")
STYLES.register("quality")(Style("masterpiece, best quality, extremely detailed"))
STYLES.register("usual negative", also=("negative",))(
    Style(
        negative="lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped,"
        " worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry"
    )
)
# What the demonstrations of the ControlNet repository add (Zhang et al. 2023).
STYLES.register("controlnet demo", also=("demo",))(
    Style(
        "best quality, extremely detailed",
        "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, cropped, worst quality,"
        " low quality",
    )
)


def styled(prompt: str, negative: str = "", styles: str | Sequence[str] = ()) -> tuple[str, str]:
    """A prompt and a negative one with what styles add behind them. Raises ConfigError for an unknown style."""
    chosen = [STYLES[name] for name in ([styles] if isinstance(styles, str) else styles)]
    return (
        ", ".join(filter(None, [prompt, *(style.prompt for style in chosen)])),
        ", ".join(filter(None, [negative, *(style.negative for style in chosen)])),
    )


def in_style(wish: Wish, styles: str | Sequence[str], old: Drawing | None = None) -> Wish:
    """A wish with what styles add to its prompts; where it has none, to those of an old recipe. Raises ConfigError."""
    before = wish.settings.get("negative", "" if old is None else old.negative)
    told = [styled(prompt, before, styles) for prompt in wish.prompts or ("" if old is None else old.prompt,)]
    negative = told[0][1]
    settings = wish.settings | ({"negative": negative} if negative != before else {})
    return replace(wish, prompts=tuple(prompt for prompt, _ in told), settings=settings)
