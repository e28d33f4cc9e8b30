"""What the held-out ratings are, in sentences: cold users and items, users with one kind only."""

from pfr_jax.evaluation.cold import ColdCounts, count_cold
from pfr_jax.evaluation.evaluate import part_of, seen_in_test
from pfr_jax.evaluation.ranking import KindsOfUsers
from pfr_jax.simulation.setup import Simulation

PARTS = {"validation": "Validation", "test": "Test", "query": "New users"}


def cold_counts(simulation: Simulation) -> dict[str, ColdCounts]:
    """Of validation, test and, with new users, query; counts by the part's name."""
    ratings, split = simulation.ratings, simulation.split
    counts = {}
    for part in PARTS:
        rows = getattr(split, part)
        if len(rows) or part != "query":
            counts[part] = count_cold(simulation.fallback, ratings.user[rows], ratings.item[rows])
    return counts


def kinds_of_test_users(simulation: Simulation) -> KindsOfUsers | None:
    """Of the test ratings, where the task tells kinds of users apart."""
    split, kinds = simulation.split, simulation.task.kinds_of_users
    return kinds(part_of(simulation, split.test, seen_in_test(split))) if kinds else None


def held_out_sentences(simulation: Simulation) -> list[str]:
    """What a reader must know before the figures; nothing where nothing is out of the ordinary."""
    lines = _empty_parts(simulation)
    for part, counts in cold_counts(simulation).items():
        lines += _cold_sentences(simulation, part, counts)
    kinds = kinds_of_test_users(simulation)
    if kinds and len(simulation.split.test):
        lines += _one_kind(kinds)
    return lines


def _empty_parts(simulation: Simulation) -> list[str]:
    """Warnings of parts that were asked for and hold no rating."""
    data, split = simulation.config.data, simulation.split
    premade = bool(data.validation_file or data.test_file)
    asked = {
        name: getattr(data, f"{name}_file") if premade else getattr(data, f"{name}_fraction")
        for name in ("validation", "test")
    }
    kind = "file" if premade else "fraction"
    lines = []
    if asked["validation"] and not len(split.validation):
        lines.append(
            f"Warning: --validation_{kind}={asked['validation']} leaves no rating to validate on; "
            "no round can be selected, and the last one is reported."
        )
    if asked["test"] and not len(split.test) and not len(split.query):
        lines.append(
            f"Warning: --test_{kind}={asked['test']} leaves no rating to test on; there will be "
            "no test figures."
        )
    return lines


def _cold_sentences(simulation: Simulation, part: str, counts: ColdCounts) -> list[str]:
    """How many ratings of a part the model does not score, and what does."""
    rows = getattr(simulation.split, part)
    where, total = PARTS[part], len(rows)
    cold = simulation.task.cold
    lines = []
    if counts.users:
        lines.append(
            f"{where}: {_share(counts.ratings_of_cold_users, total)} are of "
            f"{_count(counts.users, 'user')} without {cold.training}; {cold.cold_user}."
        )
    if counts.items:
        lines.append(
            f"{where}: {_share(counts.ratings_of_cold_items, total)} are of "
            f"{_count(counts.items, 'item')} without {cold.training}; {cold.cold_item}."
        )
    if counts.ratings_of_both:
        lines.append(
            f"{where}: {_share(counts.ratings_of_both, total)} are of such a user and such an "
            f"item alike; {cold.both}."
        )
    if total and counts.ratings == total:
        follows = ", so no round can be selected and the last one is reported"
        lines.append(
            f"{where}: no rating is of a user and an item with {cold.training}"
            f"{follows if part == 'validation' else '; nothing here is scored by the model'}."
        )
    return lines


def _one_kind(kinds: KindsOfUsers) -> list[str]:
    if not kinds.only_positives and not kinds.only_negatives:
        return []
    users = kinds.ranked + kinds.only_negatives
    return [
        f"Test: of {_count(users, 'user')} with held-out ratings, {kinds.only_positives:,} have "
        f"only positives (any order of them scores 1) and {kinds.only_negatives:,} only low "
        f'ratings (no figure); "mixed" figures are over the other {kinds.mixed:,}.'
    ]


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ratings ({100 * count / total:.3g} %)"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
