"""What a base wears for a drawing, as a recipe keeps it: LoRAs, and an autoencoder in place of its own."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer

from underdraw.config import Config

__all__ = ["Brief", "OtherVae", "Worn"]


class Brief(Config):
    """A table that leaves out what came `later` and has its usual value: old recipes keep their bytes."""

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _brief(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = whole(self)
        fields = type(self).model_fields
        usual = {name for name in self.later if getattr(self, name) == fields[name].default}
        return {name: part for name, part in told.items() if name not in usual}


class Worn(Brief):
    """A LoRA that the base wears: its name as it was said, and how loud it is, in the text encoders and by block."""

    later = frozenset({"blocks"})

    name: str
    hash: str = ""
    weight: float = 1.0
    text_weight: float = 1.0
    blocks: tuple[float, ...] = ()

    @property
    def tag(self) -> str:
        """As A1111 has it in a prompt."""
        both = "" if self.text_weight == self.weight else f":{self.weight:g}"
        blocks = f":lbw={','.join(f'{weight:g}' for weight in self.blocks)}" if self.blocks else ""
        return f"<lora:{Path(self.name).stem}:{self.text_weight:g}{both}{blocks}>"


class OtherVae(Config):
    """An autoencoder in place of the base's own: its name as it was said."""

    name: str
    hash: str = ""
