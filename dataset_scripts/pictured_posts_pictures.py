"""The pictures of pictured-posts: a coloured shape in front of a textured scene, clear or spoilt, as JPEG bytes."""

import colorsys
import functools
import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from .pictured_posts_shapes import Placement, draw_shape, paint_mask

# Hue in degrees, saturation and value in [0, 1], of every colour word of the texts.
COLOUR_HSV = {
    "red": (0, 0.85, 0.85),
    "yellow": (51, 0.85, 0.95),
    "green": (125, 0.75, 0.68),
    "blue": (217, 0.80, 0.85),
    "purple": (274, 0.65, 0.72),
    "pink": (328, 0.52, 0.98),
}

SPOILT_KINDS = ("dark", "blurred", "noisy")

JPEG_QUALITY = 90

# Textures are cut from large ones that are made once, from this seed whatever the corpus's.
_BANK_SEED = 2024
_BANK_TEXTURES = 8


class _TextureBank(NamedTuple):
    """Large textures to cut pieces from."""

    clouds: np.ndarray
    """Noise over all octaves, mean 0.5, in ``[0, 1]``, ``(textures, side, side)``, float32."""
    grain: np.ndarray
    """White noise of standard deviation 1, ``(side, side, 3)``, float32."""


def draw_picture(rng: np.random.Generator, entity_type: str, colour: str, kind: str, size: int) -> bytes:
    """Draw one picture.

    Args:
        rng: The post's own generator.
        entity_type: What its shape shows.
        colour: A key of `COLOUR_HSV`: the colour of the shape and, faintly, of the light.
        kind: One of `SPOILT_KINDS`; anything else is clear.
        size: Side in pixels.

    Returns:
        A JPEG file, RGB, `size` x `size`.
    """
    bank = _texture_bank(size)
    pixels = _draw_scene(rng, bank, entity_type, colour, size)
    return _encode(_spoil(rng, bank, pixels, kind))


def _draw_scene(rng: np.random.Generator, bank: _TextureBank, entity_type: str, colour: str, size: int) -> np.ndarray:
    """A clear picture, about ``[0, 1]``, ``(size, size, 3)``."""
    hue, saturation, value = COLOUR_HSV[colour]
    subject = _rgb(hue + rng.uniform(-7, 7), saturation + rng.uniform(-0.12, 0.1), value + rng.uniform(-0.12, 0.05))

    # A scene of two dull colours under a light of a little of the subject's colour.
    near, far = (
        _rgb(rng.uniform(0, 360), rng.uniform(0.05, 0.25), rng.uniform(*span)) for span in ((0.2, 0.5), (0.5, 0.85))
    )
    clouds = _cut_clouds(rng, bank, size)
    scene = near + clouds * (far - near)
    scene *= 0.75 + 0.25 * subject / subject.max()

    shape = draw_shape(rng, entity_type)
    placement = Placement(
        centre=tuple(0.5 + rng.uniform(-0.1, 0.1, 2)),
        radius=rng.uniform(0.34, 0.42),
        rotation=rng.uniform(-0.16, 0.16),
        mirrored=bool(rng.integers(2)),
    )
    # Details are mixed with white or black, so that they keep the hue.
    shade = (0.15, 1.0)[rng.integers(2)]
    detail = subject + rng.uniform(0.5, 0.65) * (shade - subject)
    body_mask, detail_mask = (paint_mask(part, placement, size)[..., None] for part in shape)
    surface = subject + detail_mask * (detail - subject)
    surface = surface * (0.55 + 0.6 * _cut_clouds(rng, bank, size))
    # The shadow next to the shape parts it from a scene that happens to be as bright.
    shadow = np.roll(body_mask, rng.integers(2, 5, size=2) * size // 128, axis=(0, 1))
    scene *= 1 - 0.45 * shadow
    pixels = scene + np.maximum(body_mask, detail_mask) * (surface - scene)

    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.35)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + np.float32(strength) * (np.float32(np.cos(angle)) * ramp + np.float32(np.sin(angle)) * ramp[:, None])
    light /= np.float32(1 + strength)  # Overexposed parts would be clipped, and flat.
    return pixels * light[..., None] + np.float32(rng.uniform(0.015, 0.03)) * _cut(rng, bank.grain, size)


def _spoil(rng: np.random.Generator, bank: _TextureBank, pixels: np.ndarray, kind: str) -> np.ndarray:
    """Darken, blur or drown a picture in noise, so that it is plain to see and the shape can still be made out."""
    size = len(pixels)
    if kind == "dark":
        # A dark photograph is noisy in proportion to its light.
        return pixels * np.float32(rng.uniform(0.17, 0.25)) + np.float32(0.02) * _cut(rng, bank.grain, size)
    if kind == "blurred":
        radius = size * rng.uniform(0.035, 0.05)
        blurred = Image.fromarray(_to_bytes(pixels)).filter(ImageFilter.GaussianBlur(radius))
        return np.asarray(blurred, dtype=np.float32) / 255
    if kind == "noisy":
        return pixels + np.float32(rng.uniform(0.28, 0.38)) * _cut(rng, bank.grain, size)
    return pixels


def _encode(pixels: np.ndarray) -> bytes:
    """Write pixels as JPEG."""
    file = io.BytesIO()
    Image.fromarray(_to_bytes(pixels)).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Clip to ``[0, 1]`` and scale to 8 bits."""
    return (np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour from its hue in degrees and the rest in ``[0, 1]``, float32, ``(3,)``."""
    rgb = colorsys.hsv_to_rgb(hue % 360 / 360, min(saturation, 1.0), min(value, 1.0))
    return np.array(rgb, dtype=np.float32)


def _cut_clouds(rng: np.random.Generator, bank: _TextureBank, size: int) -> np.ndarray:
    """A piece of one of the cloud textures, ``(size, size, 1)``."""
    return _cut(rng, bank.clouds[rng.integers(len(bank.clouds))], size)[..., None]


def _cut(rng: np.random.Generator, texture: np.ndarray, size: int) -> np.ndarray:
    """A random piece of a texture."""
    top, left = rng.integers(len(texture) - size + 1, size=2)
    return texture[top : top + size, left : left + size]


@functools.lru_cache(maxsize=1)
def _texture_bank(size: int) -> _TextureBank:
    """Make the textures that pictures of this size are cut from."""
    side = max(512, 2 * size)
    rng = np.random.default_rng(_BANK_SEED)
    frequency_y, frequency_x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    clouds = np.empty((_BANK_TEXTURES, side, side), dtype=np.float32)
    for index in range(_BANK_TEXTURES):
        # Photographs have spectra near 1/f; unequal axes make grass, bark or water of it.
        stretch, slope = rng.uniform(0.6, 1.6), rng.uniform(1.0, 1.8)
        frequency = np.hypot(frequency_y * stretch, frequency_x / stretch)
        frequency[0, 0] = np.inf
        waves = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency**slope, s=(side, side))
        clouds[index] = np.clip(0.5 + 0.22 * waves / waves.std(), 0, 1)
    return _TextureBank(clouds, rng.standard_normal((side, side, 3), dtype=np.float32))
