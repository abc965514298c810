"""Studies that a command makes of one experiment: `make honesty` and `make train FOLDS=all`. No study file is needed."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Args, Experiment
from emotion_lightning.corpora import open_corpus, relabel
from emotion_lightning.errors import UserError
from emotion_lightning.studies.study import Arm, Runs, Study, is_of_study

HONESTY_PROTOCOLS = {  # protocol → the number of its folds
    "leaky_rows": None,
    "random": 5,
    "speaker_folds": 5,
    "text_independent": 2,
}
LONGEST_NAME = 60  # characters of the settings in a study's name
FOLDERS = r"data\.(dir|cache)="  # they choose where files are, and nothing else
IN_NAME = r"corpora=.*|corpora\.\w+=(on|off|true|false|null)?"  # the name has the corpora already


def honesty(name: str, overrides: Sequence[str] = (), folds: int | None = None) -> Study:
    """Makes the study of one experiment under leaky rows, by clip, by speaker and by sentence; `folds` limits the folds of each.

    An experiment without variants of clips gets three for each clip (augment.copies) under every protocol: without them,
    nothing would leak. A second arm shows what it is worth to normalise by the test speakers' own clips; pictures have none.
    """
    experiment = settings.load(name, overrides)
    protocols = {}
    for protocol, whole in HONESTY_PROTOCOLS.items():
        if whole and protocol == "speaker_folds":  # SAVEE has four speakers
            whole = min(whole, _speakers(experiment) or whole)
        run = whole if folds is None or whole is None else list(range(min(folds, whole)))
        leaky = {"i_know_this_leaks": True} if parts.fact("protocols", protocol, "LEAKS", False) else {}
        protocols[protocol] = Runs(folds=run, set=leaky | ({"folds": whole} if whole else {}))
    changes = [*overrides, *([f"folds={folds}"] if folds else [])]
    return Study(
        name=_name("honesty", experiment, changes),
        about=f"{experiment.about or experiment.name}: what the split is worth",
        command=_command(f"make honesty EXP={name}", overrides) + (f" FOLDS={folds}" if folds else ""),
        arms=_honesty_arms(experiment, name),
        protocols=protocols,
    )


def _honesty_arms(experiment: Experiment, name: str) -> dict[str, Arm]:
    augmentations = [parts.entry("augment", a)(**args) for a, args in experiment.augment.items()]
    rows: Args = {} if any(a.stage == "rows" for a in augmentations) else {"augment.copies": {}}
    arms = {experiment.name: Arm(experiment=name, set=rows)}
    feature = parts.entry("features", experiment.features.name)(
        experiment.audio.sample_rate, **experiment.features.args
    )
    if not feature.is_picture and not any(a.stage == "waveform" for a in augmentations):
        shortcut = Arm(
            experiment=name,
            label=f"{experiment.name}, normalised by speaker",
            set={**rows, "data.normalise_speakers": True},
            only=["speaker_folds"],
        )
        arms[f"{experiment.name}_by_speaker"] = shortcut
    return arms


def all_folds(name: str, overrides: Sequence[str] = ()) -> Study:
    """Makes the study of every fold of one experiment under its protocol, with its seed.

    Raises: UserError for a protocol without folds, and for missing corpora.
    """
    experiment = settings.load(name, overrides)
    protocol = experiment.protocol
    args = {key: value for key, value in protocol.args.items() if key != "fold"}
    runs = Runs(folds=_count_folds(experiment), seeds=[experiment.seed], set=args)
    return Study(
        name=_name(f"folds_{protocol.name}", experiment, [o for o in overrides if not o.startswith("protocol=")]),
        about=f"{experiment.about or experiment.name}: every fold of {protocol.name}",
        command=_command(f"make train EXP={name} FOLDS=all", overrides),
        arms={experiment.name: Arm(experiment=name)},
        protocols={protocol.name: runs},
    )


def of_arms(overrides: Iterable[str]) -> list[str]:
    """Returns the overrides that a study applies to its arms: without seed and protocol, which are its own settings."""
    return [override for override in overrides if not is_of_study(override.partition("=")[0])]


def _count_folds(experiment: Experiment) -> int:
    name, args = experiment.protocol.name, dict(experiment.protocol.args)
    if "fold" not in args:
        raise UserError(f"FOLDS=all: protocol {name} has no folds; protocol=speaker_folds has, for example")
    del args["fold"]
    if "folds" in args:
        return int(args["folds"])
    if (count := parts.fact("protocols", name, "count_folds", None)) is None:
        raise UserError(f"FOLDS=all: protocols/{name}.py has no function `count_folds` (see docs/protocols.md)")
    clips = []
    for corpus, settings_of_corpus in experiment.corpora.items():
        opened = open_corpus(corpus, settings_of_corpus, Path(experiment.data.dir), Path(experiment.data.cache))
        clips += [clip for _, clip in relabel(dict(enumerate(opened.clips)), experiment.emotions)]
    return int(count(clips, **args))


def _speakers(experiment: Experiment) -> int:
    """Returns the official number of speakers of its corpora; 0 where one of them has no official counts."""
    official = [parts.fact("corpora", name, "ABOUT", None).official for name in experiment.corpora]
    return sum(len({speaker for speaker, _ in counts}) for counts in official) if all(official) else 0


def _name(start: str, experiment: Experiment, overrides: Iterable[str]) -> str:
    """Returns a name that contains the changed settings, so that other settings do not replace a report."""
    name = f"{start}_{experiment.name}_{'-'.join(experiment.corpora)}"
    changes = "_".join(o for o in overrides if not re.match(FOLDERS, o) and not re.fullmatch(IN_NAME, o))
    if not changes:
        return name
    readable = re.sub(r"[^\w.]+", "-", changes, flags=re.ASCII).strip("-")
    if len(readable) > LONGEST_NAME:
        readable = f"{readable[:LONGEST_NAME]}_{hashlib.sha256(changes.encode()).hexdigest()[:6]}"
    return f"{name}_{readable}"


def _command(start: str, overrides: Iterable[str]) -> str:
    changes = " ".join(o for o in overrides if not re.match(FOLDERS, o))
    return f'{start} SET="{changes}"' if changes else start
