"""The shapes of pictured-posts: outlines that show an entity's type, as masks.

A shape is a list of polygons in its own coordinates, ``[-1, 1]`` both ways, y downwards: the body, and details painted
over it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Polygon = np.ndarray  # (points, 2), x and y

# Masks are drawn this many times larger and then reduced, for soft edges.
_OVERSAMPLING = 2


class Shape(NamedTuple):
    """An outline and what is inside it."""

    body: list[Polygon]
    """What has the subject's colour."""
    details: list[Polygon]
    """What is lighter or darker than the body, and lies on it."""


class Placement(NamedTuple):
    """Where a shape stands in its picture."""

    centre: tuple[float, float]
    """x and y as shares of the picture's side."""
    radius: float
    """Half the extent of the shape, as a share of the picture's side."""
    rotation: float
    """Clockwise, in radians."""
    mirrored: bool
    """Whether left and right are swapped."""


def draw_shape(rng: np.random.Generator, entity_type: str) -> Shape:
    """Draw the outline of a thing of the given type.

    Args:
        rng: The post's own generator.
        entity_type: ``PER``: head and shoulders; ``LOC``: a skyline or mountains; ``ORG``: a ring around bars, as a
            sign or logo; ``MISC``: a trophy, a gift or an open book.

    Returns:
        The shape, its proportions a little different each time.
    """
    shapes = {"PER": (_person,), "LOC": (_skyline, _mountains), "ORG": (_emblem,), "MISC": (_trophy, _gift, _book)}
    variants = shapes[entity_type]
    return variants[rng.integers(len(variants))](rng)


def paint_mask(polygons: Sequence[Polygon], placement: Placement, size: int) -> np.ndarray:
    """Paint polygons into a mask.

    Args:
        polygons: In a shape's own coordinates.
        placement: Where they go.
        size: Side of the picture, in pixels.

    Returns:
        Coverage in ``[0, 1]``, ``(size, size)``, float32.
    """
    side = size * _OVERSAMPLING
    cos, sin = np.cos(placement.rotation), np.sin(placement.rotation)
    matrix = np.array([[cos, sin], [-sin, cos]]) * placement.radius * side
    if placement.mirrored:
        matrix[0] = -matrix[0]
    mask = Image.new("L", (side, side))
    canvas = ImageDraw.Draw(mask)
    for polygon in polygons:
        points = polygon @ matrix + np.multiply(placement.centre, side)
        canvas.polygon(points.ravel().tolist(), fill=255)
    return np.asarray(mask.reduce(_OVERSAMPLING), dtype=np.float32) / 255


def _person(rng: np.random.Generator) -> Shape:
    """A head above shoulders; hair and a collar."""
    head, width = rng.uniform(0.34, 0.42), rng.uniform(0.8, 1.0)
    y = -0.45
    shoulders = [_arc(0, 1.0, width, rng.uniform(0.8, 0.95), 180, 360)]
    hair = _arc(0, y - 0.02, head * 1.08, head * 1.1, 190, 350)
    collar = _polygon((-0.2, 0.16), (0.2, 0.16), (0, 0.62))
    return Shape([_disc(0, y, head * 0.9, head * 1.1), _box(-0.16, -0.2, 0.16, 0.3), *shoulders], [hair, collar])


def _skyline(rng: np.random.Generator) -> Shape:
    """Towers on a horizon; rows of windows."""
    edges = np.linspace(-1.25, 1.25, rng.integers(6, 8))
    body, details = [_box(-1.6, 0.62, 1.6, 1.0)], []
    for left, right in pairwise(edges):
        top = rng.uniform(-1.0, 0.25)
        body.append(_box(left, top, right - 0.06, 0.7))
        for y in np.arange(top + 0.14, 0.5, 0.26):
            details += [_box(x, y, x + 0.09, y + 0.13) for x in (left + 0.07, right - 0.22)]
    return Shape(body, details)


def _mountains(rng: np.random.Generator) -> Shape:
    """Peaks on a horizon; snow on them."""
    body, details = [_box(-1.6, 0.5, 1.6, 0.8)], []
    for x in (-0.75, 0.05, 0.8):
        x, y, width = x + rng.uniform(-0.12, 0.12), rng.uniform(-0.9, -0.3), rng.uniform(0.6, 0.8)
        body.append(_polygon((x - width, 0.55), (x, y), (x + width, 0.55)))
        snow = 0.3 * (0.55 - y)
        details.append(_polygon((x - 0.3 * width, y + snow), (x, y), (x + 0.3 * width, y + snow), (x, y + 0.6 * snow)))
    return Shape(body, details)


def _emblem(rng: np.random.Generator) -> Shape:
    """A disc whose inner field is another shade, with bars of the disc's colour, as a logo's chart or letters."""
    inner, count = rng.uniform(0.68, 0.76), rng.integers(3, 5)
    edges = np.linspace(-0.48, 0.48, count + 1)
    bars = [_box(x + 0.05, -rng.uniform(0.15, 0.5), right - 0.05, 0.42) for x, right in pairwise(edges)]
    return Shape([_disc(0, 0, 0.98, 0.98)], [_with_holes(_disc(0, 0, inner, inner), bars)])


def _trophy(rng: np.random.Generator) -> Shape:
    """A cup with two handles, a stem and a foot; a band around it."""
    width = rng.uniform(0.48, 0.58)
    cup = _polygon(
        (-width, -0.95), (width, -0.95), (0.8 * width, -0.3), (0.16, 0.15), (-0.16, 0.15), (-0.8 * width, -0.3)
    )
    handles = [
        _with_holes(_disc(side * width, -0.55, 0.36, 0.34), [_disc(side * width, -0.55, 0.21, 0.19)])
        for side in (-1, 1)
    ]
    foot = [_box(-0.11, 0.1, 0.11, 0.6), _polygon((-0.3, 0.55), (0.3, 0.55), (0.52, 0.98), (-0.52, 0.98))]
    return Shape(
        [*handles, cup, *foot], [_box(-0.9 * width, -0.72, 0.9 * width, -0.55), _box(-0.28, 0.72, 0.28, 0.84)]
    )


def _gift(rng: np.random.Generator) -> Shape:
    """A box with a lid and a bow; a ribbon."""
    width, ribbon = rng.uniform(0.72, 0.85), rng.uniform(0.12, 0.16)
    bow = [_polygon((0, -0.4), (side * 0.2, -0.98), (side * 0.66, -0.86), (side * 0.6, -0.5)) for side in (-1, 1)]
    box = [_box(-width, -0.1, width, 0.95), _box(-width - 0.12, -0.42, width + 0.12, -0.04)]
    lid_line = _box(-width, -0.04, width, 0.03)
    return Shape([*bow, *box], [_box(-ribbon, -0.42, ribbon, 0.95), lid_line])


def _book(rng: np.random.Generator) -> Shape:
    """An open book; lines of print."""
    dip, height = rng.uniform(0.2, 0.32), rng.uniform(0.55, 0.65)
    body, details = [], []
    for side in (-1, 1):
        outer, inner = side * 1.0, side * 0.03
        body.append(_polygon((outer, -height), (inner, -height + dip), (inner, height + dip), (outer, height)))
        for share in np.linspace(0.15, 0.75, 4):
            y = -height + 2 * height * share
            line = ((0.88, y), (0.16, y + 0.84 * dip), (0.16, y + 0.84 * dip + 0.12), (0.88, y + 0.12))
            details.append(_polygon(*((side * x, z) for x, z in line)))
    return Shape(body, details)


def _polygon(*points: tuple[float, float]) -> Polygon:
    return np.array(points, dtype=float)


def _box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Polygon:
    """Part of an ellipse, from `start` to `end` degrees, clockwise from the right, closed by its chord."""
    angles = np.radians(np.linspace(start, end, 33))
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def _disc(x: float, y: float, width: float, height: float) -> Polygon:
    return _arc(x, y, width, height, 0, 360)


def _with_holes(polygon: Polygon, holes: Sequence[Polygon]) -> Polygon:
    """A polygon with pieces cut out, as one outline that runs to each hole and back along the same line."""
    start = polygon[:1]
    return np.concatenate([polygon, start, *(part for hole in holes for part in (hole, hole[:1], start))])
