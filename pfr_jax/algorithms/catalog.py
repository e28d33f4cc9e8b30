"""The algorithms that come with the package, a record each."""

from pfr_jax.algorithms.spec import BOTH, AlgorithmSpec, one_after_the_other
from pfr_jax.algorithms.two_models import APFL, DITTO

PERSONALFR = AlgorithmSpec(
    name="personalfr",
    description="private encoder, shared decoder, both trained at once (Le et al. 2022)",
    shared=("item",),
)
FEDSIM = AlgorithmSpec(
    name="fedsim",
    description="another name for it (Pillutla et al. 2022)",
    shared=("item",),
)
FEDALT = AlgorithmSpec(
    name="fedalt",
    description="first the private part, then the shared one (Pillutla et al. 2022)",
    shared=("item",),
    schedule=one_after_the_other,
)
FEDRECON = AlgorithmSpec(
    name="fedrecon",
    description="so too, and no client keeps its private part (Singhal et al. 2021)",
    shared=("item",),
    schedule=one_after_the_other,
    stateless=True,
)
FEDPER = AlgorithmSpec(
    name="fedper",
    description="shared encoder, private decoder, both trained at once (Arivazhagan et al. 2019)",
    shared=("user",),
)
FEDREP = AlgorithmSpec(
    name="fedrep",
    description="the same, but first the decoder, then the encoder (Collins et al. 2021)",
    shared=("user",),
    schedule=one_after_the_other,
)
FEDAVG = AlgorithmSpec(
    name="fedavg",
    description="everything shared (McMahan et al. 2017)",
    shared=BOTH,
)
LOCAL = AlgorithmSpec(
    name="local",
    description="nothing shared; rows of items that a client has not rated stay as they began",
    shared=(),
)
JOINT = AlgorithmSpec(
    name="joint",
    description=(
        "one trainer holds all ratings (centralised), a round is --local_epochs passes over all "
        "users, and the clients' optimizer settings are the trainer's"
    ),
    shared=BOTH,
    centralized=True,
)

ALGORITHMS = {
    spec.name: spec
    for spec in (
        *(PERSONALFR, FEDSIM, FEDALT, FEDRECON, FEDPER, FEDREP),
        *(FEDAVG, DITTO, APFL, LOCAL, JOINT),
    )
}
