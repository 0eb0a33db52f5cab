from underdraw.generation import ControlRequest, Hires, Studio, Tiling, verify

Control = ControlRequest
__all__ = ["Control", "Hires", "Studio", "Tiling", "load", "verify"]
__version__: str

def load(base: str = ..., device: str = ..., dtype: str = ...) -> Studio: ...
