"""What a user may say about a file of ratings; what is left out is found in the file and told."""

from dataclasses import dataclass
from typing import Literal

from pfr_jax.data.table import Scale
from pfr_jax.errors import InputError

Names = tuple[str, ...]  # user, item and, where there are such, rating and time
Positions = tuple[int, ...]  # likewise, from 0
Columns = Names | Positions
Duplicates = Literal["error", "first", "last", "mean"]

ROLES = ("user", "item", "rating", "time")
SPACES = "spaces"  # the separator that is any run of blanks
NO_RATINGS = "It has no ratings; every row is a choice."
_IN_FIELDS = '"\r\n.+-_'  # what a separator cannot be: it stands in fields


@dataclass(frozen=True)
class FixedLayout:
    """What is known of a public data set's file besides where its ratings stand."""

    num_fields: int  # of every line; in parquet, columns
    max_id: int  # largest user or item id


@dataclass(frozen=True)
class RatingRule:
    """Which numbers are ratings."""

    scale: Scale | None = None  # that they must be on; None: any
    kept: tuple[float, float] | None = None  # those outside are dropped, and counted
    unrated: float | None = None  # a mark that is no rating: dropped, and counted


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file of ratings.

    Raises InputError for what no file can have.
    """

    # Names (the file has a header) or positions from 0 of user, item, rating and, if a fourth is
    # given, the time of the rating; of user and item alone where every row is a choice. None: what
    # is usual for the kind of file.
    columns: Columns | None = None
    separator: str | None = None  # one character, "::" or SPACES; None: found in the first line
    header: bool | None = None  # whether the first line names the columns; None: if `columns` do
    scale: Scale | None = None  # that ratings must be on; None: from the lowest to the highest
    rating_range: tuple[float, float] | None = None  # ratings outside are dropped, and counted
    unrated: float | None = None  # a mark that is no rating; dropped, and counted
    duplicates: Duplicates = "error"  # what becomes of an item that a user rates again
    times: bool = False  # keep when each rating was made, where the file says so
    layout: FixedLayout | None = None  # demands what is known of a public data set's file

    def __post_init__(self) -> None:
        if self.columns is not None:
            _check_columns(self.columns, self.header)
            if len(self.columns) == 2 and self.speaks_of_ratings:
                raise InputError(
                    f"--columns={','.join(map(str, self.columns))}: user and item alone have no "
                    "--scale or --rating_range; leave these out"
                )
        if self.separator is not None:
            _check_separator(self.separator)
        if self.rating_range and not self.rating_range[0] <= self.rating_range[1]:
            raise InputError(
                f"--rating_range={self.rating_range[0]:g},{self.rating_range[1]:g}: want the "
                "lowest and the highest rating to keep"
            )

    @property
    def speaks_of_ratings(self) -> bool:
        """Something is said about ratings, so that there must be some in the file."""
        return any((self.layout, self.scale, self.rating_range, self.unrated is not None))

    @property
    def with_time(self) -> bool:
        """The times of ratings are read."""
        return self.times or self.duplicates in ("first", "last")

    @property
    def rule(self) -> RatingRule:
        return RatingRule(self.scale, self.rating_range, self.unrated)


def separator_text(separator: str) -> str:
    """What to call it in a message."""
    return SPACES if separator == SPACES else repr(separator)


def _check_columns(columns: Columns, header: bool | None) -> None:
    names = all(isinstance(column, str) for column in columns)
    positions = all(isinstance(column, int) and column >= 0 for column in columns)
    if (
        len(columns) not in (2, 3, 4)
        or len(set(columns)) < len(columns)
        or not (names or positions)
    ):
        raise InputError(
            f"--columns={','.join(map(str, columns))}: want the names of user, item and rating "
            "(and, fourth, of the time), or their positions from 0; of user and item alone where "
            "every row is a choice"
        )
    if names and header is False:
        raise InputError(
            f"--columns={','.join(map(str, columns))}: names want a header, and --header=no says "
            "that there is none; give positions, such as 0,1,2"
        )


def _check_separator(separator: str) -> None:
    one = (
        len(separator) == 1
        and separator.isascii()
        and (separator.isprintable() or separator == "\t")
    )
    if separator in ("::", SPACES) or (
        one and not separator.isalnum() and separator not in _IN_FIELDS
    ):
        return
    raise InputError(
        f"--separator={separator!r}: want one character that no field has, such as ; or | or \\t, "
        f"or :: or {SPACES}"
    )
