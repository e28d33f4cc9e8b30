"""Flags are made from the settings: each has one, with help, and comes back as it was."""

import dataclasses

import pytest
from absl import flags

from pfr_jax.config import Config
from pfr_jax.errors import InputError
from pfr_jax.programs.flags import (
    PRESETS,
    SECTIONS,
    config_from_flags,
    define_config_flags,
    parse_flags,
    with_flagfiles,
)

define_config_flags()  # on absl's one list of flags, as the command does
FILES = sorted(PRESETS.glob("*.flags"))
SETTINGS = [setting for section in SECTIONS.values() for setting in dataclasses.fields(section)]


def parse(*arguments: str) -> Config:
    """The settings a command line gives, whatever was parsed before."""
    values = flags.FlagValues()
    for setting in SETTINGS:
        values[setting.name] = flags.FLAGS[setting.name]
        values[setting.name].unparse()
    rest = values(["command", *arguments])
    assert rest == ["command"]
    return config_from_flags(values)


def test_every_setting_has_one_flag_with_help():
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len(names)
    assert set(Config().flat()) == set(names)
    for name in names:
        help_text = flags.FLAGS[name].help
        assert help_text and help_text.strip().endswith("."), name


def test_no_flags_give_the_defaults():
    assert parse() == Config()


def test_every_flag_reaches_its_setting():
    """Each setting changed to something else; what comes back differs there and nowhere else."""
    others = {
        "data_dir": "/somewhere",
        "dataset": "ml100k",
        "columns": ("a", "b", "c"),
        "scale": (1.0, 5.0, 0.5),
        "separator": ";",
        "rating_range": (1.0, 5.0),
        "hidden_sizes": (7, 5),
        "validation_file": "validation.csv",
        "test_file": "test.csv",
        "over_selection": 1.375,
    }
    # Settings that another one needs.
    of_ranking = "negatives", "negatives_drawn", "negative_sampling", "ranking_loss"
    private = {"upload": "dp", "denominator": "expected", "cohort_fraction": 1.0}
    private |= {"weighting": "clients", "ridge": 0.0}
    allow = {
        "implicit_threshold": {"feedback": "implicit"},
        **dict.fromkeys(of_ranking, {"feedback": "ranking"}),
        **dict.fromkeys(("epsilon", "noise_multiplier"), private),
        "release_multiplier": {**private, "noise_multiplier": 2.0},
    }
    defaults = Config().flat()
    for setting in SETTINGS:
        name, default = setting.name, setting.default
        flag = flags.FLAGS[name]
        if isinstance(default, bool):
            value, argument = not default, f"--{'no' if default else ''}{name}"
        elif isinstance(flag, flags.EnumFlag):
            value = next(v for v in flag.parser.enum_values if v != default)
            argument = f"--{name}={value}"
        else:
            value = others.get(name, default + 1 if isinstance(default, int) else 0.375)
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            argument = f"--{name}={text}"
        needed = allow.get(name, {})
        changed = parse(argument, *(f"--{n}={v}" for n, v in needed.items())).flat()
        assert changed == {**defaults, **needed, name: value}, argument
        assert type(changed[name]) is type(value)


def test_the_config_is_immutable_and_hashable():
    assert hash(parse("--rounds=5")) == hash(parse("--rounds=5")) != hash(parse())
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().run.rounds = 7


@pytest.mark.parametrize(
    "argument",
    [
        "--columns=user",
        "--scale=5",
        "--scale=1,x",
        "--rating_range=1",
        "--rating_range=1,x",
        "--min_ratings_per_user=-1",
        "--min_ratings_per_item=-1",
        "--num_users=-1",
        "--num_clients=-1",
        "--split_seed=-1",
        "--hidden_sizes=",
        "--hidden_sizes=8,0",
        "--hidden_sizes=8,wide",
        "--hidden_sizes=8.5",
        "--dropout=1",
        "--dropout=-0.1",
        "--client_learning_rate=0",
        "--client_learning_rate=nan",
        "--momentum=1",
        "--weight_decay=-1",
        "--weight_decay=nan",
        "--clip_norm=-1",
        "--local_epochs=0",
        "--batch_size=0",
        "--block_size=-1",
        "--max_buckets=-1",
        "--server_learning_rate=0",
        "--server_momentum=-0.5",
        "--rounds=0",
        "--eval_every=0",
        "--cohort_fraction=0",
        "--cohort_fraction=1.1",
        "--cohort_fraction=nan",
        "--seed=-1",
        "--seed=4294967296",
        "--clip_norm=inf",
    ],
)
def test_values_out_of_range_are_refused_by_their_flag(argument):
    with pytest.raises(InputError) as error:
        parse(argument)
    message = str(error.value)
    assert argument.split("=")[0] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "argument", ["--algorithm=fedprox", "--center=item", "--rounds=many", "--dropout=half"]
)
def test_values_of_another_type_are_refused_by_their_flag(argument):
    with pytest.raises(flags.IllegalFlagValueError, match=argument):
        parse(argument)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds=10.5"], "--rounds=10.5: want a whole number"),
        (["--rounds=abc"], "--rounds=abc: want a whole number"),
        (["--rounds="], "--rounds=: want a whole number"),
        (["--dropout=a: b"], "--dropout=a: b: want a number"),
        (["--retrain=maybe"], "--retrain=maybe: want true or false"),
        (["--noretrain=x"], "--noretrain=x: takes no value"),
        (["--schedule=linear"], "--schedule=linear: want one of cosine, constant"),
        (["--dataset"], "--dataset: has no value; give one as --dataset=VALUE"),
        (["--dataset", "--rounds=5"], "--dataset: has no value; give one as --dataset=VALUE"),
        (["--hidden_size=5"], "--hidden_size: there is no such flag; did you mean --hidden_sizes"),
        (
            ["--flagfile=nowhere.flags"],
            "--flagfile=nowhere.flags: no such file or directory; --pre",
        ),
        (["--flagfile"], "--flagfile: name a file of flags; --preset"),
        (["--flagfile", "--rounds=5"], "--flagfile: name a file of flags; --preset"),
        (["--flagfile="], "--flagfile: name a file of flags; --preset"),
        (["5"], "'5' is not a flag; settings are given as --name=value"),
    ],
    ids=str,
)
def test_a_bad_command_is_told_in_our_words(arguments, said):
    with pytest.raises(SystemExit) as ended:
        parse_flags(["command", *arguments])
    message = str(ended.value.code)
    assert message.startswith(f"error: {said}") and "\n" not in message


def test_flag_files_that_cannot_be_read(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe--rounds=5")
    (tmp_path / "bare.flags").write_text("--dataset\n--rounds=5\n")
    cases = {
        tmp_path: f"--flagfile={tmp_path}: is a directory; --preset",
        tmp_path / "binary": "--flagfile: a file that is no text; --preset",
        tmp_path / "bare.flags": "--dataset: has no value",
    }
    for path, said in cases.items():
        with pytest.raises(SystemExit) as ended:
            parse_flags(["command", f"--flagfile={path}"])
        assert str(ended.value.code).startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("argument", "wanted"), [("--scale=1,x", "numbers"), ("--hidden_sizes=8,x", "whole numbers")]
)
def test_lists_are_told_in_our_words(argument, wanted):
    with pytest.raises(InputError, match=f"{argument}: want {wanted} with commas between"):
        parse(argument)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_presets_are_settings_and_say_where_they_come_from(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    given = [line for line in lines if line and not line.startswith("#")]
    assert all(line.startswith("--") for line in given)
    names = [line.strip("-").split("=")[0] for line in given]
    assert len(set(names)) == len(names), "a flag given twice"
    # How much privacy is no matter of a recipe.
    budget = ["--epsilon=4"] if path.stem.startswith("private") else []
    by_name = with_flagfiles([f"--preset={path.stem}", *budget])
    assert parse(*by_name) == parse(*with_flagfiles([*given, *budget]))
    assert parse(*by_name) == parse(*with_flagfiles([f"--flagfile={path}", *budget]))


def test_what_is_said_beside_a_preset_holds_on_whichever_side():
    before = parse(*with_flagfiles(["--dataset=ml1m", "--rounds=7", "--preset=paper_ml100k"]))
    after = parse(*with_flagfiles(["--preset=paper_ml100k", "--dataset=ml1m", "--rounds=7"]))
    assert before == after
    assert (before.data.dataset, before.run.rounds) == ("ml1m", 7)
    two = with_flagfiles(["--preset=quick", "--preset=paper_ml100k"])
    assert parse(*two).data.dataset == "ml100k", "of two presets the later one holds"


def test_the_paper_preset_is_the_papers_protocol():
    """Settings of the authors' public experiment code (README), whatever our defaults are."""
    config = parse(*with_flagfiles(["--preset=paper_ml100k"])).flat()
    paper = {
        "hidden_sizes": (256, 128),
        "dropout": 0.5,
        "rounds": 800,
        "cohort_fraction": 0.1,
        "local_epochs": 5,
        "batch_size": 5,
        "client_optimizer": "sgd",
        "client_learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "private_rate_factor": 1.0,
        "decay_biases": True,
        "proximal": 0.0,
        "input_offset": 0.0,
        "output_bias": "zero",
        "clip_norm": 1.0,
        "schedule": "cosine",
        "private_momentum": "carry",
        "shared_momentum": "carry",
        "server_optimizer": "sgd",
        "server_learning_rate": 1.0,
        "server_momentum": 0.0,
        "denominator": "clients",
        "center": "none",
        "test_fraction": 0.1,
        "validation_fraction": 0.0,
    }
    assert {name: config[name] for name in paper} == paper


def test_no_flags_at_all_are_no_fault():
    assert with_flagfiles([]) == []
    assert parse_flags(["command"]) == ["command"]
