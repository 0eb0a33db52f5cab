"""The emoji sets that stickers are made of: packages with pinned versions and checksums, and the style of each.

Only MIT and Apache-2.0 sets are listed; NOTICE names their authors.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """One package of the npm registry at a pinned version; `integrity` is npm's own sha512 of the tarball."""

    name: str
    version: str
    integrity: str

    @property
    def tarball(self) -> str:
        """The file name that `npm pack` gives: "@scope/name" at 1.0.0 becomes "scope-name-1.0.0.tgz"."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class EmojiSet:
    """One set of drawings in one style; `style` and `style_zh` are what captions call it."""

    name: str
    package: Package
    style: str
    style_zh: str
    raster: bool = False  # True: one WebP per emoji, named by code point; False: an Iconify icons.json


def _iconify(name: str, version: str, integrity: str, style: str, style_zh: str) -> EmojiSet:
    return EmojiSet(name, Package(f"@iconify-json/{name}", version, integrity), style, style_zh)


SETS: tuple[EmojiSet, ...] = (
    EmojiSet(
        "fluent-emoji-3d",
        Package(
            "@lobehub/fluent-emoji-3d",
            "1.1.0",
            "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        ),
        "3d sticker",
        "3D贴纸",
        raster=True,
    ),
    _iconify(
        "fluent-emoji",
        "1.2.7",
        "sha512-D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        "glossy sticker",
        "光泽贴纸",
    ),
    _iconify(
        "fluent-emoji-flat",
        "1.2.6",
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "flat sticker",
        "扁平贴纸",
    ),
    _iconify(
        "fluent-emoji-high-contrast",
        "1.2.6",
        "sha512-esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
        "black and white sticker",
        "黑白贴纸",
    ),
    _iconify(
        "noto",
        "1.2.9",
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "cartoon sticker",
        "卡通贴纸",
    ),
    _iconify(
        "noto-v1",
        "1.2.5",
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "blob sticker",
        "圆润贴纸",
    ),
)

NAMES = Package(  # names and keywords of every emoji in many languages
    "emojibase-data",
    "17.0.0",
    "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)

PACKAGES: tuple[Package, ...] = (*(one.package for one in SETS), NAMES)
