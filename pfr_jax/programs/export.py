"""Writes a trained run's model for other programs: safetensors and JSON.

    pfr export runs/mine --output_dir=model
    pfr export runs/mine --output_dir=model --clients=196,7

server.safetensors is what the server holds; client_USER.safetensors what the client of that user
keeps to itself, for its own items.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pfr_jax.errors import InputError
from pfr_jax.jax_setup import set_up_jax
from pfr_jax.programs.flags import one_line_errors
from pfr_jax.recommend.export import export_client, export_server
from pfr_jax.recommend.loading import load_run

ARGUMENTS = ("RUN",)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", "", "Folder for the files; it is made.")
_CLIENTS = flags.DEFINE_list("clients", [], "Users whose clients' private parts are written, too.")


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        if len(argv) != 2 or not _OUTPUT_DIR.value:
            raise InputError("pfr export RUN --output_dir=FOLDER: name one run and a folder")
        set_up_jax()
        recommender, folder = load_run(argv[1]), Path(_OUTPUT_DIR.value).expanduser()
        written = export_server(recommender, folder)
        for user in _CLIENTS.value:
            written += export_client(recommender, user, folder)
        for path in written:
            print(path)
