"""The commands export (a checkpoint as a folder of its own, journals as tables) and data (downloads)."""

import argparse
from pathlib import Path
from typing import Any

from hankelboard.storage.errors import ConfigError
from hankelboard.trainer.cli.arguments import add_command, need, run_of


def add_commands(commands: Any) -> None:
    parser = add_command(
        commands, "export", export,
        example="hankelboard export RUN last ./my-model",
        more="the folder holds weights (safetensors), configuration and a loader that needs torch and "
        "safetensors only (a model of your own: no loader)",
    )  # fmt: skip
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", help="its name, or last")
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="new or empty")
    for name in ("metrics", "spectra"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help="as .csv or .parquet")

    parser = add_command(
        commands, "data", data, example="hankelboard data mnist ./data/mnist",
        more="needs the package datasets; the files are those of the data sets' own sites",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="mnist or cifar10")
    parser.add_argument("folder", metavar="DIR", type=Path)


def data(options: argparse.Namespace) -> int:
    from hankelboard.trainer.data.download import download

    files = download(options.name, options.folder)
    print(f"{options.folder}: {', '.join(path.name for path in files)}")
    print(f"train on them with: --set data.folder={options.folder.resolve()}")
    return 0


def export(options: argparse.Namespace) -> int:
    paths = run_of(options)
    if bool(options.checkpoint) != bool(options.folder):
        raise ConfigError("export: needs CHECKPOINT and DIR together")
    if not (options.checkpoint or options.metrics or options.spectra):
        raise ConfigError("export: name CHECKPOINT and DIR, or --metrics FILE, or --spectra FILE")
    _need_tables(options.metrics, options.spectra)
    if options.checkpoint:
        from hankelboard.trainer.export import LOADER, export_checkpoint

        files = export_checkpoint(paths, options.checkpoint, options.folder)
        print(f"{options.folder}: {', '.join(files)}")
        if LOADER not in files:
            print("without a loader: the model is of a class of your own, which takes these weights")
    for name in ("metrics", "spectra"):
        file = getattr(options, name)
        if file:
            from hankelboard.comparison import frames  # pandas: only where it is wanted

            table = getattr(frames, name)(paths.root)
            frames.write(table, file)
            print(f"{file}: {len(table)} rows")
    return 0


def _need_tables(*files: Path | None) -> None:
    """Raise ConfigError where a package that writes these files is missing."""
    if any(files):
        parquet = any(file.suffix == ".parquet" for file in files if file)
        need("a table", "pandas", *(["pyarrow"] if parquet else []), install="pandas pyarrow")
