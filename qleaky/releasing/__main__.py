"""``python -m qleaky.releasing models/NAME RUN...``: release a model from finished trainings."""

from __future__ import annotations

import sys

import click

from qleaky.errors import QleakyError
from qleaky.releasing import FILES, release


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--data", type=click.Path(), metavar="DIR", help="Where the files of data sets are.")
def main(folder: str, runs: tuple[str, ...], data: str | None) -> None:
    """Release the model whose recipe.toml is in FOLDER from the finished trainings RUNS, one for each seed."""
    try:
        release(folder, runs, data, lambda line: click.echo(f"{line} ...", err=True))
    except QleakyError as error:
        click.echo(f"qleaky.releasing: {error}", err=True)
        sys.exit(2)
    click.echo(f"Written to {folder}: {', '.join(FILES)}")


if __name__ == "__main__":
    main()
