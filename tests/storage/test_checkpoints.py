import pytest

from hankelboard.storage import checkpoints
from hankelboard.storage.errors import CheckpointError
from hankelboard.storage.layout import CheckpointName
from hankelboard.storage.verification import verify_run

NAME = CheckpointName(branch=0, step=5, attempt=0, sequence=1)


def publish(paths, write=lambda folder: (folder / "weights").write_bytes(b"abc"), name=NAME):
    return checkpoints.publish(
        paths, name, write, cause="scheduled", pinned=False, state_dims=[4], metrics={}, reductions=[]
    )


def test_a_published_checkpoint_verifies(paths):
    assert publish(paths).bytes == 3
    assert list(checkpoints.problems(paths, NAME)) == []
    assert verify_run(paths) == []


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda file: file.write_bytes(b"abd"), "SHA-256"),
        (lambda file: file.write_bytes(b"ab"), "2 bytes instead of 3"),
        (lambda file: file.unlink(), "missing"),
    ],
)
def test_a_damaged_file_is_named(paths, damage, word):
    publish(paths)
    damage(paths.checkpoint(NAME) / "weights")
    (problem,) = checkpoints.problems(paths, NAME)
    assert word in problem and str(NAME) in problem
    assert [finding.damage for finding in verify_run(paths)] == [True]


def test_a_checkpoint_that_failed_while_being_written_does_not_exist(paths):
    def full(folder):
        (folder / "weights").write_bytes(b"a")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        publish(paths, full)
    assert checkpoints.list_checkpoints(paths) == ([], []) and list(paths.checkpoints.iterdir()) == []


def test_the_next_trainer_removes_what_a_dead_one_was_building(paths):
    paths.building(NAME).mkdir()
    paths.checkpoint(NAME).mkdir()  # a rename that came through without its manifest
    checkpoints.remove_strays(paths)
    assert list(paths.checkpoints.iterdir()) == []


def test_a_manifest_cannot_point_outside_its_folder(paths):
    publish(paths)
    text = paths.manifest(NAME).read_text().replace('"weights"', '"../../run.json"')
    paths.manifest(NAME).write_text(text)
    with pytest.raises(CheckpointError, match="outside"):
        checkpoints.read_checkpoint(paths, NAME)
