r"""What may stand in one field of a file of ratings.

missing  Empty, or nan, null, none, <na> or \N in capitals or not: refused wherever it counts.
number   As JSON writes it: -0.5, 4, 4.0, 1e-05; not +4, 04, .5, 4., nan, 0x4, 1_0 or " 4".
rating   A number that f32 holds (not so small that it would become 0); on the scale, where one is
         given, unless it is outside the range of ratings to keep or the mark of no rating.
label    Of a user or item: text of at most 200 characters, without space at either end or control
         characters. It stays as it stands: 5e263339, 2021_05, 1420.0174, 007 and 7.0 are codes.
integer  0, or digits that do not begin with 0, with or without a minus before. If every label of a
         column is an integer, and all fit in 64 bits, they are integers, else all are text.

Of a data set whose `FixedLayout` is known, every label is an integer from 0 to its limit, and the
fields besides user, item and rating hold such integers too (times). A file of one's own may hold
anything there.
"""

import re

import numpy as np

from pfr_jax.data.formats.options import FixedLayout, RatingRule
from pfr_jax.data.table import Scale

INTEGER = "(?:0|-?[1-9][0-9]{0,19})"  # read alike by Python and by Arrow; may be beyond 64 bits
COUNT = "(?:0|[1-9][0-9]{0,17})"
MISSING = frozenset({"", "nan", "null", "none", "<na>", "\\n"})  # in lower case
MAX_LABEL = 200  # characters
# For Arrow: most labels that are surely good, and all that stand for a missing one.
PLAIN_LABEL = f"^[!-~](?:[ -~]{{0,{MAX_LABEL - 2}}}[!-~])?$"
MISSING_LABEL = "(?i)^(?:" + "|".join(sorted(map(re.escape, MISSING))) + ")$"

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LARGEST = float(np.finfo(np.float32).max)


class Problem(Exception):
    """What is wrong with a field or line; the caller knows which one it is."""


def check_label(text: str, role: str, layout: FixedLayout | None) -> None:
    """Raise Problem unless `text` may label a user or item (`role`)."""
    if is_missing(text):
        raise Problem(f"the {role} is missing{_as_written(text)}; correct or remove the line")
    if layout:
        if not re.fullmatch(COUNT, text) or int(text) > layout.max_id:
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


def check_rating(text: str, rule: RatingRule) -> float | None:
    """The rating that `text` means, in stars; None for one to be dropped. Raises Problem."""
    if is_missing(text):
        raise Problem(f"the rating is missing{_as_written(text)}; correct or remove the line")
    if not _NUMBER.fullmatch(text):
        raise Problem(
            f"the rating {text[:50]!r} is not a number such as 4 or 3.5; correct the line, or see "
            "--columns"
        )
    value, scale, kept = float(text) + 0.0, rule.scale, rule.kept  # + 0.0: no -0
    if value == rule.unrated or (kept and not kept[0] <= value <= kept[1]):
        return None
    if abs(value) > _LARGEST or (value and not np.float32(value)):
        raise Problem(f"the rating {text[:50]} is beyond what 32 bits hold; correct the line")
    if scale is not None and not _is_on(scale, value):
        mark = "" if rule.unrated is None else f", nor {rule.unrated:g} (not rated)"
        raise Problem(
            f"the rating {text[:50]} is not on the scale {scale}{mark}; see --scale and "
            "--rating_range"
        )
    return value


def check_count(text: str) -> None:
    """Raise Problem unless `text` may stand beside the ratings of a `FixedLayout`."""
    if not re.fullmatch(COUNT, text):
        raise Problem(
            f"{text[:50]!r} where this data set has an integer, such as a time; get the file again"
        )


def is_missing(text: str) -> bool:
    return text.lower() in MISSING


def is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _as_written(text: str) -> str:
    """How a missing value that is not empty was written."""
    return f" ({text!r})" if text else ""


def _is_on(scale: Scale, value: float) -> bool:
    """Whether `value` is a rating of the scale, but for rounding of f64: 3.0001 is not 3."""
    if not scale.low <= value <= scale.high or scale.step is None:
        return scale.low <= value <= scale.high
    steps = (value - scale.low) / scale.step
    return abs(steps - round(steps)) < 1e-9
