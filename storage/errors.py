"""The error tree: every error a user can cause or meet, each with what, where and what to do.

HankelboardError
├── RunError
│   ├── RunNotFound        no such run, or a name that cannot be one
│   ├── DamagedRun         run.json is missing or cannot be read
│   ├── NewerFormat        written by a newer Hankelboard
│   ├── RunHeld            another process trains the run
│   ├── Superseded         a later attempt at the run has begun
│   └── NotWritable        permission is missing
├── ProposalError
│   ├── AlreadyDecided     somebody decided first: who and when
│   └── NotDecidable       no such proposal, expired, superseded, or ranks that cannot be
├── CheckpointError        missing, damaged or unusable checkpoint
│   └── CheckpointMisfit   whole, but of another model
├── ResumeRefused          data or code are not those that a run was trained with
├── CommandRefused         a command that makes no sense for this run now
└── ConfigError            a key, preset or value that is not allowed
"""


class HankelboardError(Exception):
    """Base of all errors with a message meant for people; the command line prints it and exits with 1."""


class RunError(HankelboardError):
    """Something is wrong with a run directory."""


class RunNotFound(RunError):
    """No run of that name."""


class DamagedRun(RunError):
    """The run's identity file is missing or cannot be read."""


class NewerFormat(RunError):
    """The run was written by a newer version of Hankelboard."""


class RunHeld(RunError):
    """Another process trains this run."""


class Superseded(RunError):
    """A later attempt at the run has begun: this one changes nothing more."""


class NotWritable(RunError):
    """What must be written may not be written by this user, or lies on a read-only file system."""


class ProposalError(HankelboardError):
    """A proposal cannot be decided as asked."""


class AlreadyDecided(ProposalError):
    """Somebody else decided first."""


class NotDecidable(ProposalError):
    """The proposal does not exist, is no longer open, or the ranks are impossible."""


class CheckpointError(HankelboardError):
    """A checkpoint is missing or damaged."""


class CheckpointMisfit(CheckpointError):
    """A checkpoint of a model with other parameters, or other sizes of them."""


class ResumeRefused(HankelboardError):
    """Data, their split or the model's code are not those that the run was trained with."""


class CommandRefused(HankelboardError):
    """A command that makes no sense for this run now."""


class ConfigError(HankelboardError):
    """A key, preset or value that is not allowed; exit code 2."""
