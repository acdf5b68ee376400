"""How a command ends: errors become one sentence on stderr and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import NoReturn

import click

from qleaky._strict_json import printable
from qleaky.errors import InputError, QleakyError, missing

BAD_INPUT = 2
INTERNAL_ERROR = 70
INTERRUPTED = 130
MOST_CHARACTERS = 4000


def run_command(command: click.Command, name: str, *, interrupted: str, no_memory: str) -> NoReturn:
    """Run a command and exit with its code.

    Args:
        command: gives its exit code, or None for 0; a click.Abort with a sentence of its own says that one.
        name: as users type it.
        interrupted: said after any other Ctrl-C or SIGTERM.
        no_memory: said where memory runs out.
    """
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(command.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        click.echo(str(error) or interrupted, err=True)
        sys.exit(INTERRUPTED)
    except QleakyError as error:
        _fail(name, error)
    except ImportError as error:
        _fail(name, missing(name, error))
    except MemoryError:
        _fail(name, InputError(no_memory))
    except Exception:
        traceback.print_exc()
        click.echo(f"{name}: this is a bug in qleaky; please report it with the lines above.", err=True)
        sys.exit(INTERNAL_ERROR)


def _fail(name: str, error: BaseException) -> NoReturn:
    if "--debug" in sys.argv:
        traceback.print_exception(error.__context__ or error)
    click.echo(f"{name}: {printable(str(error), MOST_CHARACTERS)}", err=True)
    sys.exit(BAD_INPUT)


def _terminated(*_: object) -> None:
    raise KeyboardInterrupt
