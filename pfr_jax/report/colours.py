"""How each algorithm is drawn, the same everywhere: a colour and a marker.

The colours are those of Okabe and Ito, which colour-blind readers tell apart, but for black and
yellow, which vanish on a dark or a light page. As there are fewer colours than algorithms, no two
algorithms share both colour and marker.
"""

from dataclasses import dataclass

ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#808080"
PLAIN_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
}


@dataclass(frozen=True)
class Look:
    """How an algorithm is drawn."""

    colour: str  # as in CSS, #RRGGBB
    marker: str  # as Plotly calls it

    @property
    def plain_marker(self) -> str:
        """As Matplotlib calls it; an open one is the same with an empty face."""
        return PLAIN_MARKERS[self.marker.removesuffix("-open")]

    @property
    def hollow(self) -> bool:
        """The marker is an outline."""
        return self.marker.endswith("-open")


LOOKS = {
    "personalfr": Look(ORANGE, "circle"),
    "fedsim": Look(ORANGE, "circle-open"),
    "fedalt": Look(GREEN, "square"),
    "fedrecon": Look(GREEN, "square-open"),
    "fedper": Look(PURPLE, "diamond"),
    "fedrep": Look(PURPLE, "diamond-open"),
    "fedavg": Look(BLUE, "triangle-up"),
    "ditto": Look(SKY, "triangle-down"),
    "apfl": Look(SKY, "triangle-down-open"),
    "local": Look(VERMILLION, "cross"),
    "joint": Look(VERMILLION, "x"),
}
OF_OTHERS = Look(GREY, "star")  # an algorithm from outside of the package


def look_of(algorithm: str) -> Look:
    """How the algorithm of this name is drawn."""
    return LOOKS.get(algorithm, OF_OTHERS)
