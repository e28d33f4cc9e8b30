r"""What may stand in one field of a file of ratings.

integer  0, or digits that do not begin with 0; at most 18 of them.
number   As JSON writes it: -0.5, 4, 4.0, 1e-05; not +4, 04, .5, 4., nan, 0x4, 1_0 or " 4".
rating   A number within what f32 holds; on the scale, where one is given.
label    Of a user or item: an integer, or text of at most 200 characters, without space at
         either end or control characters, that Python does not read as another number: not +7,
         7.0, 1e5, 0x7, 1_000, nan, or more digits than an integer may have. Digits after a 0 are
         text: "007" is a code, not 7. If every label of a column is an integer, they are integers,
         else all of them are text.

Of a data set whose `FixedLayout` is known, every label is an integer up to its limit, and the
fields besides user, item and rating hold integers (times). A file of one's own may hold anything
there.
"""

import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from pfr_jax.data.table import Scale

INTEGER = "(?:0|[1-9][0-9]{0,17})"  # read alike by Python and by Arrow
MAX_LABEL = 200  # characters

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DIGITS = re.compile(f"{INTEGER}|0[0-9]+")  # integers and codes
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LARGEST = float(np.finfo(np.float32).max)


class Problem(Exception):
    """What is wrong with a field or line; the caller knows which one it is."""


@dataclass(frozen=True)
class FixedLayout:
    """What is known of a public data set's file besides where its ratings stand."""

    num_fields: int  # of every line; in parquet, columns
    max_id: int  # largest user or item id


def is_integer(text: str) -> bool:
    return re.fullmatch(INTEGER, text) is not None


def check_label(text: str, role: str, layout: FixedLayout | None) -> None:
    """Raise Problem unless `text` may label a user or item (`role`)."""
    if not text:
        raise Problem(f"the {role} is missing; correct or remove the line")
    if layout:
        if not is_integer(text) or int(text) > layout.max_id:
            raise Problem(
                f"the {role} {text[:50]!r} is not a plain integer from 0 to {layout.max_id:,}, as "
                "all of this data set are; get the file again"
            )
    elif text != text.strip():
        raise Problem(f"the {role} {text[:50]!r} has space around it; remove that")
    elif len(text) > MAX_LABEL or _CONTROL.search(text):
        raise Problem(
            f"the {role} {text[:50]!r} is no label: more than {MAX_LABEL} characters, or control "
            "characters; correct or remove the line"
        )
    elif not _DIGITS.fullmatch(text) and _is_number(text):
        raise Problem(
            f"the {role} {text[:50]!r} is a number, but not a plain integer of at most 18 digits; "
            f"correct it, or, if it is a code, put a letter before every {role}"
        )


def check_rating(text: str, scale: Scale | None) -> float:
    """The rating that `text` means, in stars; raises Problem."""
    if not text:
        raise Problem("the rating is missing; correct or remove the line")
    if not _NUMBER.fullmatch(text):
        raise Problem(
            f"the rating {text[:50]!r} is not a number such as 4 or 3.5; correct the line, or see "
            "--columns"
        )
    value = float(text)
    if abs(value) > _LARGEST:
        raise Problem(f"the rating {text[:50]} is beyond what 32 bits hold; correct the line")
    if scale is not None and not _is_on(scale, value):
        raise Problem(f"the rating {text[:50]} is not on the scale {scale}; see --scale")
    return value


def check_time(text: str) -> None:
    """Raise Problem unless `text` may stand beside the ratings of a `FixedLayout`."""
    if not is_integer(text):
        raise Problem(
            f"{text[:50]!r} where this data set has an integer, such as a time; get the file again"
        )


def _is_number(text: str) -> bool:
    """Whether Python reads `text` as some number, 0x7 and 1_000 included."""
    for read in (float, partial(int, base=0)):
        try:
            read(text)
            return True
        except ValueError:
            pass
    return False


def _is_on(scale: Scale, value: float) -> bool:
    """Whether `value` is a rating of the scale, but for rounding of f64: 3.0001 is not 3."""
    if not scale.low <= value <= scale.high or scale.step is None:
        return scale.low <= value <= scale.high
    steps = (value - scale.low) / scale.step
    return abs(steps - round(steps)) < 1e-9
