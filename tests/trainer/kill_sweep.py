"""Killed anywhere and resumed, a run ends with the same bits as one that was left alone."""

import random
import signal

from hankelboard.storage.verification import verify_run
from tests.trainer.deaths import AfterSeconds, AtCall, CountCalls, NotAtAll, train_until
from tests.trainer.small_run import SmallRun

KEYS = {
    "training": {"steps": 45, "checkpoint_every": 10, "keep_checkpoints": 2},
    "reduction": {"steps": [12, 30]},
}
STOP = 20


class Story:
    """A run in two acts: trained and cut up to step 20, then rolled back to its start and trained to the end.

    Deaths happen in either act. `left_alone` is the same story without any.
    """

    def __init__(self, folder):
        self.folder = folder
        self.count = self.died = 0
        self.calls, self.seconds = [], []
        for act in (0, 1):
            calls, seconds = self._count(act)
            self.calls.append(int(calls))
            self.seconds.append(float(seconds))
        self.left_alone = self.play(None, NotAtAll())

    def _count(self, act):
        path = self.folder / f"calls-{act}"
        self.play(act, CountCalls(path))
        return path.read_text().split()

    def play(self, act, death):
        """The whole story with one death in one act; the run."""
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        run = SmallRun(folder, **KEYS)
        run.send("stop", at_step=STOP)
        self._act(run, death if act == 0 else None, until="stopped")
        run.send("rollback", checkpoint=str(run.checkpoints("start")[0].name), policy="auto")
        self._act(run, death if act == 1 else None, until="finished")
        return run

    def _act(self, run, death, until):
        if death is not None:
            code = train_until(run.paths, death)
            assert code in (0, -signal.SIGKILL), code
            self.died += code == -signal.SIGKILL
            damage = [finding for finding in verify_run(run.paths) if finding.damage]
            assert not damage, damage
        if run.history.state != until:
            assert train_until(run.paths, NotAtAll()) == 0
        assert run.history.state == until, (run.history.state, run.history.reason)

    def check_all(self, deaths):
        """Play with each (act, death) and compare with the run that was left alone; returns how many died."""
        self.died = 0
        for act, death in deaths:
            try:
                self._compare(self.play(act, death))
            except AssertionError as error:
                raise AssertionError(f"act {act}, {death!r}: {error}") from error
        return self.died

    def _compare(self, run):
        assert run.final_weights() == self.left_alone.final_weights()
        assert run.live_path() == self.left_alone.live_path()
        assert (run.history.branch, list(run.history.branches)) == (1, [0, 1])
        assert not [finding for finding in verify_run(run.paths) if finding.damage]

    def deaths(self, every=1):
        """(act, death) before and after every nth call that changes the disk."""
        for act in (0, 1):
            for nth in range(1, self.calls[act] + 1, every):
                for when in ("before", "after"):
                    yield act, AtCall(nth, when=when)

    def chosen(self, count, seed):
        """(act, death) at so many of these calls, drawn by a seed."""
        return random.Random(seed).sample(list(self.deaths()), count)

    def instants(self, count, seed):
        """(act, death) at so many instants that nobody chose, of those that an act takes."""
        chance = random.Random(seed)
        acts = [chance.choice((0, 1)) for _ in range(count)]
        return [(act, AfterSeconds(chance.uniform(0.0, self.seconds[act]))) for act in acts]
