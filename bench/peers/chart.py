"""Charts of the lives as SVG: for each size a row of dots per shape, on a logarithmic axis.

A dot is a median, the line through it reaches from the lowest to the highest, and the number beside it
is the median. The background is white and opaque, so that a chart can be read on a dark page too. The
same rows give the same bytes with the same version of matplotlib.
"""

import io
import math

import matplotlib
from matplotlib import colors, figure, ticker

import rows as r
import table

WIDTH_INCHES, SHAPE_INCHES, MARGIN_INCHES = 7.6, 0.94, 1.2
# Of the distance between two shapes, what the dots of one take.
LANES_SHARE = 0.8
# Okabe and Ito's colours, which the colour-blind can tell apart.
SERIES = {"Mayfly, relaxed": "#0072B2", "Redis, everysec": "#E69F00", "Mayfly, sync": "#56B4E9",
          "Redis, always": "#D55E00", "stores nothing": "#999999"}
PEER_SERIES = {"Redis, appendfsync everysec": "Redis, everysec",
               "Redis, appendfsync always": "Redis, always",
               "server that stores nothing": "stores nothing"}
STYLE = {
    "svg.fonttype": "none",      # text stays text, to be searched
    "svg.hashsalt": "mayfly",    # ids that are the same in every run
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


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


def whole_decades(values):
    """The lowest and the highest power of ten that the axis shows."""
    low = math.floor(math.log10(min(value["min"] for value in values)))
    high = math.ceil(math.log10(max(value["max"] for value in values)))
    return 10 ** low, 10 ** max(high, low + 1)


def plot_series(axes, name, lane, shapes):
    """One dot a shape, in the lane of this series."""
    places = [(place + (lane - (len(SERIES) - 1) / 2) * LANES_SHARE / len(SERIES), of_shape[name])
              for place, of_shape in enumerate(shapes.values()) if name in of_shape]
    medians = [value["median"] for _, value in places]
    errors = [[value["median"] - value["min"] for _, value in places],
              [value["max"] - value["median"] for _, value in places]]
    axes.errorbar(medians, [y for y, _ in places], xerr=errors, fmt="o", color=SERIES[name],
                  ecolor=colors.to_rgba(SERIES[name], 0.5), elinewidth=3, label=name)
    for y, value in places:
        axes.annotate(table.number(value["median"]), (value["max"], y), xytext=(7, 0),
                      textcoords="offset points", va="center", fontsize=7, color="#444444")


def draw(size_bytes, shapes):
    """The text of one chart."""
    with matplotlib.rc_context(STYLE):
        height = SHAPE_INCHES * len(shapes) + MARGIN_INCHES
        picture = figure.Figure((WIDTH_INCHES, height), layout="constrained", facecolor="white")
        axes = picture.subplots()
        for lane, name in enumerate(SERIES):
            plot_series(axes, name, lane, shapes)
        axes.set_xscale("log")
        axes.set_xlim(*whole_decades([value for of_shape in shapes.values()
                                      for value in of_shape.values()]))
        axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.grid(True, color="#dddddd")
        axes.set_xlabel("lives per second, logarithmic")
        axes.set_yticks(range(len(shapes)), shapes)
        axes.set_ylim(len(shapes) - 0.5, -0.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        picture.suptitle(f"Lives of calls per second, payloads of {r.size_text(size_bytes)}",
                         fontweight="bold")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(SERIES),
                    columnspacing=1, handletextpad=0.2)
        text = io.StringIO()
        picture.savefig(text, format="svg", metadata={"Date": None})
        return text.getvalue()


def charts(rows):
    """(file name, text) of each chart."""
    for size_bytes in sorted({row["size_bytes"] for row in rows}):
        shapes = values_by_shape(rows, size_bytes)
        if shapes:
            yield f"lives-{r.size_text(size_bytes).replace(' ', '')}.svg", draw(size_bytes, shapes)
