"""A family and a task of a user's package: their rows. Like any such module it imports no torch."""

from hankelboard.settings.families import Family, register_family
from hankelboard.settings.importances import Importance
from hankelboard.settings.tasks import TaskRow, register_task
from hankelboard.storage.errors import ConfigError

ROOM = Importance(
    name="leak_energy",
    title="leak energy ℓ",
    total="its summed leak energies, Σℓ",
    short="Σℓ",
    meaning="How much of white noise a leaky state passes on, all inputs and outputs together.",
)


def rises_before_the_end(options):
    if options["rise"] >= options["length"]:
        raise ConfigError(f"data.options.rise = {options['rise']}: must be below the length")


FAMILY = Family(
    name="leaky",
    title="Leaky integrators",
    description="Real states that forget at rates of their own, shared by all channels.",
    layer="tests.settings.toy.layer:Leaky",
    methods=("loudest", "random"),
    importance=ROOM,
    options={"slowest": float},
    keys=("model.max_phase",),
    streaming="tests.settings.toy.streaming",
)
TASK = TaskRow(
    name="steps",
    title="Steps up or down",
    description="Whether the level of a noisy sequence rises or falls half-way.",
    loader="tests.settings.toy.data:load_steps_task",
    options={"length": (16, 4, 256), "rise": (3, 1, 200)},
    rule=rises_before_the_end,
)


def register():
    register_family(FAMILY)
    register_task(TASK)
