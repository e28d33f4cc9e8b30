"""What is compiled: settings of ``pfr run``, and the part of such a run."""

from dataclasses import dataclass, replace

from pfr_jax.algorithms import ALGORITHMS, AlgorithmSpec

SMALL = ("--members=1", "--hidden_sizes=8,4", "--max_buckets=1")


@dataclass(frozen=True)
class Case:
    """A row of the table."""

    name: str
    part: str  # one of PARTS
    flags: tuple[str, ...] = ()
    quick: bool = False  # one of those that --quick compiles


def _is_exact(spec: AlgorithmSpec) -> bool:
    """Whether the factored engine computes it, so that there are two engines to compile."""
    return spec.plain and not spec.centralized and "item" in spec.shared


def _rounds() -> list[Case]:
    """A round of every algorithm by each engine that can; one of those that differ by name."""
    cases, seen = [], []
    for spec in ALGORITHMS.values():
        nameless = replace(spec, name="", description="")
        if nameless in seen:
            continue
        seen.append(nameless)
        flags = (f"--algorithm={spec.name}",)
        cases.append(Case(f"{spec.name}: round", "round", flags))
        if _is_exact(spec):
            by_rows = (*flags, "--engine=active_rows")
            cases.append(Case(f"{spec.name}, active_rows: round", "round", by_rows))
    return cases


def _paper(size: str, host: str) -> list[Case]:
    """The paper's recipe, which carries both momenta, where there is one for the size."""
    if size not in ("ml100k", "ml10m"):
        return []
    flags = f"--preset=paper_{size}", "--state_memory=device"
    return [
        Case("paper's recipe: round", "round", flags),
        Case("paper's recipe, host store: round", "round", (*flags, host)),
    ]


def cases_of(size: str) -> list[Case]:
    """All rows of a size (ml100k, ml10m, ml32m, million)."""
    device, host = "--state_memory=device", "--state_memory=host"
    return [
        *_rounds(),
        Case("small: round", "round", SMALL, quick=True),
        Case("small, two buckets: round", "round", (*SMALL, "--max_buckets=2"), quick=True),
        Case("one member: round", "round", ("--members=1",)),
        Case("float32: round", "round", ("--state_dtype=float32", device)),
        Case("both momenta: round", "round", ("--momentum=0.9", "--shared_momentum=carry", device)),
        Case("host store: round", "round", (host,)),
        *_paper(size, host),
        Case("deterministic sum: round", "round", ("--deterministic_sum",)),
        Case("secure_sum: round", "round", ("--upload=secure_sum",)),
        Case("dp: round", "round", ("--preset=private", "--noise_multiplier=1")),
        Case("matrix factorisation: round", "round", ("--model=mf",)),
        Case("personalfr: init", "init", quick=True),
        Case("personalfr, active_rows: init", "init", ("--engine=active_rows",)),
        Case("personalfr: adaptation", "adaptation", ("--holdout_users=0.1",)),
        Case("fedrecon: reconstruction", "reconstruction", ("--algorithm=fedrecon",)),
        Case("personalfr: features", "features"),
        Case("personalfr: pairs", "pairs"),
        Case("personalfr: lists", "lists"),
    ]
