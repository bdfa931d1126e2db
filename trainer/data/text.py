"""Character-level language modelling: after every character of a text, the next one. Any UTF-8 file will
do.

    T h e   b a k e r   →   h e   b a k e r s

The loss is shown in bits per character, too: loss / ln 2; perplexity per character is 2 to that power.
Without a file the text comes from a small grammar (trainer/data/sample_text.py): 51 characters, so 5.67
bits by a uniform guess, 4.28 by their frequencies, 2.90 after the last character, 0.73 after the last four.
What is below needs words, agreement and what stands further back.

The text is parted into training, validation and test where it stands, so that no sequence of one lies
inside another.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hankelboard.settings.config import DataConfig
from hankelboard.settings.tasks import task_options
from hankelboard.storage.errors import ConfigError, ResumeRefused
from hankelboard.storage.given_files import MAX_DATA_BYTES, read_given_text
from hankelboard.storage.schema import Text
from hankelboard.trainer.data.sample_text import sample_text
from hankelboard.trainer.data.task import Split, Task

SAMPLE = 400_000
"""Characters of the sample where `data.options.characters` does not say."""
TEST_SHARE = 0.1
LARGEST_ALPHABET = 8_192


def load_text_task(config: DataConfig) -> Task:
    """Return the task of `data.options.file` (absolute, or relative to data.folder), else of the sample text.

    Other options: steps of a sequence; characters to read, 0 = all of a file and SAMPLE of the sample.

    Raises
    ------
    ConfigError
        If an option is not allowed, or the file is absent, empty, not UTF-8, holds NUL characters, more than
        LARGEST_ALPHABET different ones, or less than a sequence for each split.
    """
    options = task_options("text", config.options)
    length, characters = options["length"], options["characters"]
    from_file = "file" in config.options
    text = read_text(config)[: characters or None] if from_file else sample_text(characters or SAMPLE)
    alphabet, codes = np.unique(np.frombuffer(text.encode("utf-32-le"), dtype="<u4"), return_inverse=True)
    if len(alphabet) > LARGEST_ALPHABET:
        raise ConfigError(
            f"data.options.file: {len(alphabet)} different characters; at most {LARGEST_ALPHABET}"
        )
    train, val, test = (_split(part, length) for part in _parts(codes, length, config.validation))
    different = max(2, len(alphabet))
    return Task(
        train, val, test, classes=different, vocabulary=different, text=True,
        alphabet=alphabet.tobytes().decode("utf-32-le"),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
    )  # fmt: skip


def text_record(task: Task) -> Text:
    """Return what run_started records of a text: what its tokens mean, and its fingerprint."""
    return {"alphabet": task.alphabet, "sha256": task.fingerprint}


def is_same_text(task: Task, recorded: Mapping[str, Any]) -> bool:
    """Return whether this is the text that a run recorded, or it recorded none."""
    return bool(recorded.get("sha256", task.fingerprint) == task.fingerprint)


def check_same_alphabet(config: DataConfig, task: Task, recorded: Mapping[str, Any]) -> None:
    """Raise ResumeRefused when the text has other characters than the run began with.

    Tokens are numbered by the characters that are there, so the weights of a token would be another
    character's. Runs of before this was recorded have nothing to compare with.
    """
    if recorded.get("alphabet", task.alphabet) != task.alphabet:
        raise ResumeRefused(
            f"{key_of_text(config)}: the text is not the one that this run began with, its characters are "
            "others; put the old one back or start a new run"
        )


def key_of_text(config: DataConfig) -> str:
    """Return the configuration key by which a text is chosen."""
    return "data.options.file" if "file" in config.options else "data.task"


def read_text(config: DataConfig) -> str:
    """Return the characters of `data.options.file`; line ends are \\n whatever the file has."""
    given = config.options["file"]
    key = f"data.options.file = {given!r}"
    folder = config.folder or os.environ.get("HANKELBOARD_DATA", "")
    path = Path(folder).expanduser() / Path(given).expanduser()
    try:
        text = read_given_text(path.absolute(), MAX_DATA_BYTES)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        raise ConfigError(f"{key}: holds NUL characters, so it is no text but binary data")
    if not text:
        raise ConfigError(f"{key}: is empty")
    return text


def _parts(codes: np.ndarray, length: int, validation: float) -> list[np.ndarray]:
    """Return training, validation and test: stretches of the text, in that order, a sequence or more each."""
    rest = round(len(codes) * (1.0 - TEST_SHARE))
    train = round(rest * (1.0 - validation))
    parts = [codes[:train], codes[train:rest], codes[rest:]]
    shortest = min(map(len, parts))
    if shortest <= length:
        raise ConfigError(
            f"data.options.length = {length}: the shortest split has {shortest} of the text's {len(codes)} "
            "characters and needs one more than that; take a longer text or shorter sequences"
        )
    return parts


def _split(codes: np.ndarray, length: int) -> Split:
    """Return sequences one after the other, without overlap; what is left at the end is not used."""
    count = (len(codes) - 1) // length
    inputs, labels = (
        codes[start : start + count * length].reshape(count, length) for start in (0, 1)
    )  # (count, length) each
    tokens = torch.from_numpy(inputs.astype(np.int16))[:, :, None]  # (count, length, 1)
    return Split(tokens, torch.from_numpy(labels.astype(np.int64)))
