"""Too little memory."""

import random
import resource
from collections.abc import Iterator
from functools import partial

import psutil

from trust.commands import Ended, workplace
from trust.machine_faults.place import Place
from trust.rows import Row, Setting


def limit_memory(megabytes: int) -> None:
    """Lets this process take so much more memory than it has."""
    limit = psutil.Process().memory_info().vms + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def under_runs(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, refused, count = [], 0, setting.times(12, least=2)
    for _ in range(count):
        megabytes, folder = chance.randrange(60, 700), workplace(place.new())
        big = ["features.frames=400", "model.width=256", "data.batch_size=64", "fit.stages.main.epochs=1"]
        ended = place.train(folder, "net", *big, before=partial(limit_memory, megabytes))
        refused += ended.status != 0
        if ended.status and (fault := ended.fault()):
            faults.append(f"{megabytes} MB: {fault}")
        faults += [f"{megabytes} MB: {fault}" for fault in place.again(folder, "net", Ended(0, "", ""))]
    yield Row("out of memory, processor", count, tuple(faults), f"{refused} of them had too little")
