"""From settings to a ``Federation``: the static description of clients and server."""

import dataclasses

import jax
import numpy as np

from pfr_jax.algorithms.federated import Federation, FederationState
from pfr_jax.algorithms.spec import AlgorithmSpec
from pfr_jax.client.block import ClientSide, Wanted
from pfr_jax.client.compressors import Compressor
from pfr_jax.client.engines import block_sizes, choose_engine
from pfr_jax.client.factored.engine import FACTORED
from pfr_jax.client.factored.kernel import Kernel, by_kernel
from pfr_jax.client.factored.on_gpu.round import GPU
from pfr_jax.client.factored.on_tpu.round import TPU
from pfr_jax.client.factored.storage import BITS
from pfr_jax.client.fixed_point import scale_for
from pfr_jax.client.training import LocalTraining, Parts
from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.evaluation.task import Task
from pfr_jax.models.item_rows import Tree, tree_bytes
from pfr_jax.models.losses import ByRating
from pfr_jax.models.model import Model, parts_on
from pfr_jax.population.population import Population
from pfr_jax.privacy.accounting import Plan
from pfr_jax.seeding import cohort_size
from pfr_jax.server import DENOMINATORS
from pfr_jax.simulation import optimizers
from pfr_jax.simulation.device_memory import bytes_of_round, fits
from pfr_jax.simulation.mechanisms import check_sums, mechanism_of, quieter
from pfr_jax.simulation.rounds import build_algorithm, params_shapes, state_shapes

FULL_PRECISION_BYTES = 4 * 2**30  # all clients' states together, up to which they stay float32


def build_federation(
    spec: AlgorithmSpec,
    task: Task,
    config: Config,
    model: Model,
    population: Population,
    compressor: Compressor | None,
    ratings_per_user: float,
    plan: Plan | None,
) -> tuple[Federation, str]:
    """The static description of clients and server, and why it has the engine it has."""
    client = config.client
    training = LocalTraining(
        model=model,
        optimizer=optimizers.client_optimizers(client, ratings_per_user),
        loss=ByRating(task.loss, ratings_per_user) if client.weighting == "ratings" else task.loss,
        dropout=config.model.dropout,
        clip_norm=client.clip_norm,
        moves=Parts(*spec.schedule(client.private_epochs, client.local_epochs)),
        proximal=client.proximal,
        objective=spec.objective,
        predicts=spec.predicts,
        coupling=client.coupling,
        two_models=spec.two_models,
        input_offset=config.model.input_offset,
        encodes_choices=task.draws_negatives,
    )
    carry = Parts(client.private_momentum == "carry", client.shared_momentum == "carry")
    wanted = Wanted(
        shared=parts_on(model, spec.shared),
        plain=spec.plain,
        centralized=spec.centralized,
        optimizer=client.client_optimizer,
        partial_compression=client.partial_compression,
        per_user=model.per_user,
        layered=model.layered,
        one_user=all(bucket.users.shape[1] == 1 for bucket in population.buckets),
    )
    engine, why = choose_engine(client.engine, wanted, spec.name)
    num_clients, run = len(population.trainable), config.run
    most = cohort_size(num_clients, run.cohort_fraction, run.sampling)
    exact = config.server.deterministic_sum or config.privacy.upload == "secure_sum"
    fixed_point = scale_for(most) if exact else None
    mechanism = mechanism_of(config, num_clients, plan, fixed_point) if plan else None
    shared = shared_shapes(spec, model) if mechanism else {}
    check_sums(config, most, mechanism, shared, int(population.rows.max()))
    side = ClientSide(
        training,
        client.partial_compression,
        carry,
        stateless=spec.stateless,
        max_update_norm=config.faults.max_update_norm,
        compressor=compressor,
        fixed_point=fixed_point,
        one_by_one=config.server.deterministic_sum,
        mechanism=mechanism,
        kernel=_kernel(spec, config, model, population) if engine is FACTORED else None,
    )
    every = all(by_kernel(side, bucket) for bucket in population.buckets)
    kernel = side.kernel if every else None
    federation = Federation(
        engine=engine,
        side=side,
        server_optimizer=optimizers.server_optimizer(
            quieter(config.server, mechanism, config.privacy.step_noise)
        ),
        denominator=DENOMINATORS[config.server.denominator],
        learning_rate=optimizers.client_learning_rate(client, config.run.rounds),
        block_sizes=block_sizes(client, model, engine, population, run.cohort_fraction, kernel),
        mesh=population.mesh,
        on_host=False,
        expected=run.cohort_fraction * num_clients
        if config.server.denominator == "expected"
        else None,
    )
    if config.data.redraws:
        check_redraws(spec, federation, population)
    return _with_store(spec, config, federation, population), why


def shared_shapes(spec: AlgorithmSpec, model: Model) -> Tree:
    """Of the shared part, over all items."""
    params, shared = params_shapes(model, np.float32), parts_on(model, spec.shared)
    return {name: part for name, part in params.items() if name in shared}


KERNELS = TPU, GPU


def _kernel(
    spec: AlgorithmSpec, config: Config, model: Model, population: Population
) -> Kernel | None:
    """What may compute clients on these devices; which of them, ``by_kernel`` says."""
    private, shared = parts_on(model, spec.private_sides), parts_on(model, spec.shared)
    client = config.client
    alike = client.decay_biases or not (client.weight_decay or client.ridge)
    known = private == ("encoder",) and "encoder" not in shared and alike
    if not known or client.kernel == "off":
        return None
    device = population.mesh.devices.flat[0]
    return next((one for one in KERNELS if one.is_for(device)), None)


def check_redraws(spec: AlgorithmSpec, federation: Federation, population: Population) -> None:
    """Raises InputError where negatives cannot be drawn anew in every round.

    That is where a client keeps something of its rows, which then are others, or where it has the
    rows of several users, whose number would change.
    """
    side, name = federation.side, federation.engine.name
    keeps_input = "user" in spec.private_sides and side.training.model.input_width
    obstacles = {
        f"--algorithm={spec.name} has no rounds of clients": spec.centralized,
        f"--algorithm={spec.name} keeps rows of the decoder": "item" in spec.private_sides,
        f"the {name} engine keeps rows of the encoder": keeps_input
        and not (spec.stateless or name == FACTORED.name),
        "--shared_momentum=carry keeps momenta of rows": side.carry.shared,
        "--compressor keeps what an upload lost of rows": side.keeps_residual,
        "--num_clients gives a client several users": any(
            bucket.users.shape[1] > 1 for bucket in population.buckets
        ),
        "there are several processes": jax.process_count() > 1,
    }
    for obstacle, holds in obstacles.items():
        if holds:
            raise InputError(f"--negatives_drawn=each_round: {obstacle}; take once")


def _with_store(
    spec: AlgorithmSpec, config: Config, federation: Federation, population: Population
) -> Federation:
    """With the type in which --state_dtype keeps matrices, and where --state_memory does.

    The numbers of a run depend on the type, so what ``auto`` makes of it does not depend on the
    machine; the place changes none.
    """
    dtype, place = config.client.state_dtype, config.client.state_memory
    if not federation.engine.has_store:
        name = federation.engine.name
        if dtype == "bfloat16":
            raise InputError(f"--state_dtype=bfloat16: the {name} engine does not keep 16 bits")
        if place == "host":
            raise InputError(f"--state_memory=host: the {name} engine keeps no clients there")
        return federation
    run, state = config.run, _state_of(spec, config, federation, population)
    whole = tree_bytes(state.clients)
    if dtype == "bfloat16" or (dtype == "auto" and whole > FULL_PRECISION_BYTES):
        side = dataclasses.replace(federation.side, store=BITS)
        federation = dataclasses.replace(federation, side=side)
        state = _state_of(spec, config, federation, population)
    most = cohort_size(len(population.trainable), run.cohort_fraction, run.sampling)
    needed = bytes_of_round(federation, state, population, most)
    on_host = place == "host" or (place == "auto" and not fits(needed, federation))
    if on_host and jax.process_count() > 1:
        raise InputError(
            "--state_memory: several processes cannot keep clients in the machines' memory; take "
            "more devices or --state_dtype=bfloat16"
        )
    return dataclasses.replace(federation, on_host=on_host)


def _state_of(
    spec: AlgorithmSpec, config: Config, federation: Federation, population: Population
) -> FederationState:
    algorithm = build_algorithm(spec, config, federation)
    return state_shapes(algorithm, federation.side.training.model, population.buckets)
