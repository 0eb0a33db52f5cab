"""What a person did that we cannot do. Each message is one line: what, where, and the remedy."""

__all__ = ["CheckpointError", "ConfigError", "InputError", "MissingExtra", "UnderdrawError"]


class UnderdrawError(Exception):
    """Base of all mistakes that are the user's to mend; a command ends with its message and exit code 2."""


class InputError(UnderdrawError):
    """A picture, map, prompt or data set that cannot be used."""


class ConfigError(UnderdrawError):
    """A recipe, option or name that does not exist or does not fit."""


class CheckpointError(UnderdrawError):
    """Weights that are missing, truncated or of another model."""


class MissingExtra(UnderdrawError):
    """An optional package is needed; the message is its install line."""

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(f"{need} is not installed; run: pip install 'underdraw[{extra}]'")
