"""Charts of the lives as SVG: for each size a row of dots per shape, on a logarithmic axis.

A dot is a median, the line through it reaches from the lowest to the highest.
"""

import math
from xml.sax.saxutils import escape

import rows as r

WIDTH, LEFT, RIGHT, TOP, LANE, GAP, FOOT = 760, 90, 30, 76, 16, 14, 40
# Okabe and Ito's colours, which the colour-blind can tell apart.
SERIES = [("Mayfly, relaxed", "#0072B2"), ("Redis, everysec", "#E69F00"),
          ("Mayfly, sync", "#56B4E9"), ("Redis, always", "#D55E00"), ("stores nothing", "#999999")]
PEER_SERIES = {"Redis, appendfsync everysec": "Redis, everysec",
               "Redis, appendfsync always": "Redis, always",
               "server that stores nothing": "stores nothing"}


def values_by_shape(rows, size_bytes):
    """{shape: {series: value}} in the order of the rows."""
    shapes = {}
    for row in rows:
        if row["size_bytes"] == size_bytes and row["figure"] in ("lives_over_redis",
                                                                 "lives_over_null"):
            of_shape = shapes.setdefault(row["shape"], {})
            of_shape[f"Mayfly, {row['durability']}"] = row["mayfly"]
            if row["peer"] in PEER_SERIES:
                of_shape[PEER_SERIES[row["peer"]]] = row["peer_value"]
    return shapes


class Axis:
    """A logarithmic axis over whole decades."""

    def __init__(self, values):
        self._low = math.floor(math.log10(min(value["min"] for value in values)))
        self._high = max(math.ceil(math.log10(max(value["max"] for value in values))),
                         self._low + 1)

    def x(self, number):
        share = (math.log10(number) - self._low) / (self._high - self._low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        return [10 ** power for power in range(self._low, self._high + 1)]


def text(x, y, content, anchor="start", size=12, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def legend():
    x = LEFT
    for name, colour in SERIES:
        yield f'<circle cx="{x}" cy="52" r="5" fill="{colour}"/>'
        yield text(x + 9, 56, name)
        x += 24 + 7 * len(name)


def grid(axis, bottom):
    for tick in axis.ticks():
        x = axis.x(tick)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        yield text(x, bottom + 16, f"{tick:,}".replace(",", " "), "middle")


def dots(axis, name, values, y):
    yield text(LEFT - 10, y + LANE * len(SERIES) / 2 + 4, name, "end")
    for series, colour in SERIES:
        value = values.get(series)
        if value:
            middle = y + LANE / 2
            yield (f'<line x1="{axis.x(value["min"]):.1f}" y1="{middle}" '
                   f'x2="{axis.x(value["max"]):.1f}" y2="{middle}" stroke="{colour}" '
                   'stroke-width="3" stroke-linecap="round" opacity="0.5"/>')
            yield (f'<circle cx="{axis.x(value["median"]):.1f}" cy="{middle}" r="5" '
                   f'fill="{colour}"><title>{escape(series)}: {value["median"]:.0f} '
                   f'{value["unit"]}</title></circle>')
        y += LANE


def draw(size_bytes, shapes):
    axis = Axis([value for of_shape in shapes.values() for value in of_shape.values()])
    pitch = LANE * len(SERIES) + GAP
    bottom = TOP + pitch * len(shapes)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + FOOT}" '
             f'viewBox="0 0 {WIDTH} {bottom + FOOT}" font-family="sans-serif" fill="#222">',
             '<rect width="100%" height="100%" fill="#fff"/>',
             text(LEFT, 28, f"Lives of calls per second, payloads of {r.size_text(size_bytes)}",
                  size=16, weight="bold"),
             *legend(), *grid(axis, bottom)]
    for place, (name, values) in enumerate(shapes.items()):
        parts += dots(axis, name, values, TOP + GAP / 2 + pitch * place)
    parts.append(text(WIDTH - RIGHT, bottom + 34, "lives per second, logarithmic", "end", 11))
    return "\n".join([*parts, "</svg>", ""])


def charts(rows):
    """(file name, text) of each chart."""
    for size_bytes in sorted({row["size_bytes"] for row in rows}):
        shapes = values_by_shape(rows, size_bytes)
        if shapes:
            yield f"lives-{r.size_text(size_bytes).replace(' ', '')}.svg", draw(size_bytes, shapes)
