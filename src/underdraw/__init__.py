"""Underdraw: draw the structure of a picture and let a diffusion model paint it."""

__version__ = "0.1.0"
