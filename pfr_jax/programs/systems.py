"""The rows of the tables that `pfr reproduce` makes."""

from dataclasses import dataclass

from pfr_jax.evaluation.tasks import TASKS


@dataclass(frozen=True)
class System:
    """A row of a table."""

    name: str
    part: str  # one of --parts
    preset: str = ""  # what the preset's name ends in
    flags: tuple[str, ...] = ()
    feedback: tuple[str, ...] = tuple(TASKS)


# The paper's presets report the last round and need no validation split; curves do. All systems get
# the same one, so that they have the same ratings to train on.
CURVES = ("--validation_fraction=0.05", "--eval_every=20")
RETRAIN, STARS = ("--retrain",), ("explicit",)
# What is changed in the tuned recipe, a row each; "" is the recipe itself.
EFFECTS = (
    "",
    "input_offset=0",
    "center=none",
    "output_bias=item",
    "dropout=0.5",
    "weight_decay=5e-4",
    "private_rate_factor=1",
    "nodecay_biases",
    "momentum=0.9",
    "shared_momentum=carry",
    "server_momentum=0",
    "denominator=clients",
    "denominator=contributors",
    "proximal=0.01",
    "proximal=0.1",
    "algorithm=fedalt",
    "algorithm=fedrecon",
)


def _changed(settings: str) -> tuple[str, ...]:
    """The flags of the tuned recipe on the paper's widths with these settings, as written after the
    first --.
    """
    changes = f"--{settings}".split() if settings else []
    return ("--hidden_sizes=256,128", "--noretrain", *changes)


# How uploads are made smaller, a row each.
UPLOADS = (
    "compressor=none",
    "compressor=int8",
    "compressor=topk --topk_share=0.1",
    "compressor=topk --topk_share=0.02",
    "compressor=lowrank --lowrank_rank=8",
    "compressor=lowrank --lowrank_rank=2",
)
# What a run under differential privacy may cost; and the whole budget for the centre alone.
EPSILONS = (1, 2, 4, 8, 16)
EFFECTS_ALONE = ("--rounds=1", "--effects_share=0.99", "--model_shrinkage=1e9")
SYSTEMS = (
    System("joint", "paper", "_joint"),
    System("fedavg-100", "paper", "_fedavg", CURVES),
    System("fedavg-300", "paper", "_fedavg", (*CURVES, "--num_clients=300")),
    System("fedavg-user", "paper", "_fedavg", (*CURVES, "--num_clients=0")),
    System("personalfr-100", "paper", "", (*CURVES, "--num_clients=100")),
    System("personalfr-300", "paper", "", (*CURVES, "--num_clients=300")),
    System("personalfr-user", "paper", "", CURVES),
    System("local", "paper", "", (*CURVES, "--algorithm=local")),
    System("joint, tuned", "recipes", "_joint"),
    System("fedavg, tuned", "recipes", "_fedavg"),
    System("personalfr, tuned", "recipes"),
    System("matrix factorisation, tuned", "recipes", "_mf"),
    System("matrix factorisation, four members", "recipes", "_mf4"),
    System("personalfr", "default"),
    System("fedavg", "default", "_fedavg"),
    System("local", "default", "_local"),
    System("joint", "default", "_joint"),
    System("matrix factorisation", "default", "_mf", feedback=STARS),
    System("personalfr, retrained", "retrained", "", RETRAIN, STARS),
    System("fedavg, retrained", "retrained", "_fedavg", RETRAIN, STARS),
    System("joint, retrained", "retrained", "_joint", RETRAIN, STARS),
    System("matrix factorisation, retrained", "retrained", "_mf", RETRAIN, STARS),
    *(System(f"epsilon {e}", "private", flags=(f"--epsilon={e}",)) for e in EPSILONS),
    System("clipped, no noise", "private", flags=("--noise_multiplier=0",)),
    *(
        System(f"fedavg, epsilon {e}", "private", flags=(f"--epsilon={e}", "--algorithm=fedavg"))
        for e in EPSILONS
    ),
    *(
        System(
            *(f"effects alone, epsilon {e}", "private"),
            flags=(f"--epsilon={e}", *EFFECTS_ALONE),
            feedback=STARS,
        )
        for e in EPSILONS
    ),
    *(System(change or "recipe", "effects", flags=_changed(change)) for change in EFFECTS),
    *(System(change, "compressors", flags=_changed(change)) for change in UPLOADS),
)
