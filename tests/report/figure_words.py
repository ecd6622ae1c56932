"""Can the words of a figure be read?"""

import itertools
from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def words_in_trouble(figure: Figure) -> list[str]:
    """Texts that lie over another, or beyond the figure's edge."""
    figure.draw_without_rendering()
    unseen = {label for ax in figure.axes for label in _out_of_view(ax)}
    boxes = {
        text: text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in unseen
    }
    bad = [
        f"{a.get_text()} over {b.get_text()}"
        for a, b in itertools.combinations(boxes, 2)
        if _overlap(boxes[a], boxes[b])
    ]
    edge = figure.bbox.padded(1)
    return bad + [
        f"{text.get_text()} is cut"
        for text, box in boxes.items()
        if not edge.contains(*box.min) or not edge.contains(*box.max)
    ]


def _out_of_view(ax: Axes) -> Iterator[Text]:
    """Labels of ticks beyond the ends of an axis, which are not drawn."""
    for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        for tick in axis.get_major_ticks():
            if not min(ends) <= tick.get_loc() <= max(ends):
                yield from (tick.label1, tick.label2)


def _overlap(a, b) -> bool:
    """By more than half a pixel; ink, unlike its box, leaves more than that."""
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    return wide > 0.5 and high > 0.5
