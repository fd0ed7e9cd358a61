"""Where to put boxes in layers, operands above what is made of them, and frames around boxes that belong together.

A box's layer is its longest way to the end; edges that pass layers get a place in each of them; the order in a layer
keeps crossings few, and the positions keep the longest chain straight, with leaves beside it.  A frame is laid out by
itself first, with *ports* where edges come in and go out, and is then one large box among others.  Whether a frame is
open or closed changes places only, not layers and orders: picture.js finds the places again when a reader folds one.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise
from math import inf, nan
from typing import Any

__all__ = ["Box", "Edge", "arrange", "curve"]

BETWEEN, GAP, MARGIN = 34.0, 22.0, 16.0  # layers, boxes in a layer, around the picture
PADDING, TITLE = 12.0, 20.0  # inside a frame
FAR = 30  # layers; an edge over more of them goes straight
SWEEPS = 8


class Box:
    """Something with a place: a box, a frame around others, or a point where an edge passes.

    Attributes
    ----------
    order : creation number; what a box is made of has a smaller one
    inner, layers : of a frame: what it holds, and that in layers
    closed : of a frame: it is drawn as a box
    port : of a point on the border of its frame: "in" or "out"
    x, y : the middle of the upper side: in its frame, and in the picture when `arrange` is done
    up, down : neighbours: the box, and the points on it and on this one that should be one above the other
    above, below : room left in its layer, which edges cross straight down
    depth : length of the longest chain above it; long chains are kept straight
    """

    def __init__(self, order: float, frame: Box | None = None, width: float = 14.0, height: float = 0.0) -> None:
        self.order, self.width, self.height, self.frame = order, width, height, frame
        self.inner: list[Box] = []
        self.layers: list[list[Box]] = []
        self.closed = False
        self.port = ""
        self.x = self.y = self.above = self.below = 0.0
        self.depth = 0
        self.up: list[tuple[Box, Box, Box]] = []
        self.down: list[tuple[Box, Box, Box]] = []
        if frame is not None:
            frame.inner.append(self)

    @property
    def frames(self) -> list[Box]:
        """The frames around it, the outermost first."""
        found, frame = [], self.frame
        while frame is not None:
            found.append(frame)
            frame = frame.frame
        return found[::-1]

    @property
    def shown(self) -> Box:
        """What stands for it in the picture: the outermost closed frame around it, or itself."""
        return next((frame for frame in self.frames if frame.closed), self)


class Edge:
    """From an operand to what is made of it; `via` are the points that it passes, `far` says that it goes straight."""

    def __init__(self, source: Box, target: Box) -> None:
        self.source, self.target = source, target
        self.via: list[Box] = []
        self.far = False


class _Segment:
    """The part of an edge inside one frame, between two points: boxes of that frame, or ports of frames in it."""

    def __init__(self, start: Box, stop: Box) -> None:
        self.start, self.stop = start, stop
        self.upper: Any = start.frame if start.port == "out" else start
        self.lower: Any = stop.frame if stop.port == "in" else stop
        self.via: list[Box] = []
        self.far = False


def arrange(root: Box, edges: Sequence[Edge]) -> None:
    """Give every box in the frame `root` a place, and every edge its way; `root` gets the size of the picture."""
    ports: dict[tuple[Box, Box, str], Box] = {}
    shared: dict[tuple[Box, Box], _Segment] = {}
    segments: dict[Any, list[_Segment]] = {}
    ways: list[list[_Segment]] = []
    for edge in edges:
        way = []
        for start, stop in pairwise(_points(edge, ports)):
            segment = shared.get((start, stop)) if stop.port else None
            if segment is None:
                segment = shared[start, stop] = _Segment(start, stop)
                segments.setdefault(segment.upper.frame, []).append(segment)
            way.append(segment)
        ways.append(way)
    _lay_out(root, segments, MARGIN, MARGIN)
    _absolute(root, 0.0, 0.0)
    for edge, way in zip(edges, ways, strict=True):
        edge.far = any(segment.far for segment in way)
        edge.via = [box for segment in way for box in (*segment.via, segment.stop)][:-1]


def _points(edge: Edge, ports: dict[tuple[Box, Box, str], Box]) -> list[Box]:
    """Where an edge begins, leaves frames, enters frames, and ends."""

    def port(frame: Box, side: str) -> Box:
        key = frame, edge.source, side
        if key not in ports:
            ports[key] = Box(-inf if side == "in" else inf, frame)
            ports[key].port = side
        return ports[key]

    left, entered = edge.source.frames, edge.target.frames
    common = sum(a is b for a, b in zip(left, entered, strict=False))
    out = [port(frame, "out") for frame in reversed(left[common:])]
    return [edge.source, *out, *(port(frame, "in") for frame in entered[common:]), edge.target]


def _absolute(frame: Box, left: float, top: float) -> None:
    for box in frame.inner:
        box.x += left
        box.y += top
        if box.inner:
            _absolute(box, box.x - box.width / 2, box.y)


# -- one frame -----------------------------------------------------------------------------------------------------
def _lay_out(frame: Box, segments: dict[Any, list[_Segment]], side: float, top: float) -> None:
    for box in frame.inner:
        if box.inner:
            _lay_out(box, segments, PADDING, TITLE)
    frame.layers = _layers(frame, segments.get(frame, []))
    _order(frame.layers)
    if not frame.closed:
        _place(frame, side, top)


def _place(frame: Box, side: float, top: float) -> None:
    """Say where everything stands in a frame, and how large that is; picture.js does the same."""
    layers = frame.layers
    for _ in range(6):
        for layer in reversed(layers):
            _settle(layer, down_only=True)
        for layer in layers:
            _settle(layer, down_only=False)
    left = min(box.x - box.width / 2 for layer in layers for box in layer)
    for layer in layers:
        for box in layer:
            box.x += side - left
    frame.width = max(box.x + box.width / 2 for layer in layers for box in layer) + side
    y = top
    for number, layer in enumerate(layers):
        if number:  # edges that go far to the side need room to be told apart
            y += BETWEEN + min(
                80.0, 0.05 * max((abs(box.x - _wish(box, *each)) for box in layer for each in box.up), default=0)
            )
        height = max(box.height for box in layer)
        for box in layer:
            passes = box.order != box.order
            box.height = height if passes else box.height
            box.above = (height - box.height) * (0.5 if box.up and box.down else not box.up)
            box.below = height - box.height - box.above
            box.y = y + box.above
        y += height
    frame.height = y + side


def _layers(frame: Box, segments: list[_Segment]) -> list[list[Box]]:
    """Sort boxes into layers; an edge over several layers gets a box to pass through in each between."""
    boxes = sorted(frame.inner, key=lambda box: box.order)
    above: dict[Box, list[_Segment]] = {}
    for segment in segments:
        above.setdefault(segment.lower, []).append(segment)
    lowest = any(box.port == "out" for box in boxes)
    height = {box: int(lowest and box.port != "out") for box in boxes}
    for box in reversed(boxes):
        for segment in above.get(box, ()):
            height[segment.upper] = max(height[segment.upper], height[box] + 1)
    last = max(h for box, h in height.items() if box.port != "in") + any(box.port == "in" for box in boxes)
    number = {box: 0 if box.port == "in" else last - height[box] for box in boxes}
    layers: list[list[Box]] = [[] for _ in range(last + 1)]
    for box in boxes:
        layers[number[box]].append(box)
    for box in boxes:
        for segment in above.get(box, ()):
            upper = segment.upper
            box.depth = max(box.depth, upper.depth + 1)
            segment.far = number[box] - number[upper] > FAR
            start = upper if last > FAR else segment.start  # a long column of frames would drift aside
            for layer in range(number[upper] + 1, number[box]) if not segment.far else ():
                between = Box(nan, frame)
                between.depth = segment.upper.depth
                layers[layer].append(between)
                segment.via.append(between)
                _join(upper, start, between, between)
                upper = start = between
            if not segment.far:
                _join(upper, start, box, box if last > FAR else segment.stop)
    return layers


def _join(upper: Box, start: Box, lower: Box, stop: Box) -> None:
    lower.up.append((upper, start, stop))
    upper.down.append((lower, stop, start))


def _wish(box: Box, other: Box, at: Box, own: Box) -> float:
    """Where a box should be so that a point on it is straight above or below a point on a neighbour."""
    return other.x + _offset(at, other) - _offset(own, box)


def _offset(point: Box, box: Box) -> float:
    """How far right of the middle of a box a point on its border lies."""
    return 0.0 if point is box or box.closed else point.x - box.width / 2


def _order(layers: list[list[Box]]) -> None:
    """Order each layer: as the operands are written, then by the mean of the neighbours, while that helps."""
    for lower, upper in zip(layers[:0:-1], layers[-2::-1], strict=True):
        written = dict.fromkeys([*(operand for box in lower for operand, *_ in box.up), *upper])
        place = {box: i for i, box in enumerate(written)}
        upper.sort(key=place.__getitem__)
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        for fixed, moving in pairwise(layers if down else layers[::-1]):
            at = {box: i for i, box in enumerate(fixed)}
            wish = {}
            for i, box in enumerate(moving):
                near = [at[other] for other, *_ in (box.up if down else box.down)]
                wish[box] = sum(near) / len(near) if near else i
            moving.sort(key=wish.__getitem__)
        if (crossings := _crossings(layers)) < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(layers: list[list[Box]]) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        at = {box: i for i, box in enumerate(upper)}
        before: list[int] = []
        for box in lower:
            for end in sorted(at[other] for other, *_ in box.up):
                total += len(before) - bisect_right(before, end)
                insort(before, end)
    return total


def _settle(layer: list[Box], down_only: bool) -> None:
    """Weighted least squares under minimal distances, by pooling adjacent violators; long chains weigh most."""
    pools: list[list[Any]] = []  # position, weight, boxes with their offsets
    offset = 0.0
    for i, box in enumerate(layer):
        if i:
            offset += (layer[i - 1].width + box.width) / 2 + GAP
        near = box.down if down_only else box.up + box.down
        pull = [(_wish(box, *each), (1 + min(each[0].depth, box.depth)) ** 2) for each in near]
        weight = sum(w for _, w in pull)
        wish = sum(x * w for x, w in pull) / weight if pull else box.x
        pools.append([wish - offset, (1 + box.depth) ** 2, [(box, offset)]])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            x, w, members = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + x * w) / (before[1] + w)
            before[1] += w
            before[2] += members
    for x, _, members in pools:
        for box, shift in members:
            box.x = x + shift


# -- edges ---------------------------------------------------------------------------------------------------------
def curve(source: Box, via: Sequence[Box], target: Box, end: float) -> list[tuple[float, float]]:
    """The points of the Bézier curves of an edge that arrives `end` right of the middle of its target.

    The first point, and then three for each piece: smooth, and vertical at both ends.
    """
    bottom = source.y + source.height
    points = [(source.x, bottom), (source.x, bottom + source.below)]
    for box in via:
        points += [(box.x, box.y - box.above), (box.x, box.y + box.height + box.below)]
    points += [(target.x + end, target.y - target.above), (target.x + end, target.y)]
    points = list(dict.fromkeys(points))
    found = points[:1]
    for (x0, y0), (x1, y1) in pairwise(points):
        found += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
    return found
