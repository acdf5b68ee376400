"""Every error qleaky raises on purpose.

Each message says what is wrong (with its value), where, the rule, and the fix.
"""


class QleakyError(Exception):
    """Base of every error that qleaky raises on purpose; the command line turns it into exit code 2."""


class InputError(QleakyError, ValueError):
    """A value, shape or dtype that a function cannot accept."""


class UsageError(QleakyError, TypeError):
    """A call that combines arguments which exclude each other."""


class FormatError(InputError):
    """A number that does not fit a fixed-point format."""


class LoweringError(QleakyError):
    """A network that cannot be traced or lowered; lists every reason, not only the first."""


class ArtefactError(QleakyError):
    """A file that is missing, damaged, or does not belong to the network it is compared with."""


class OutputError(QleakyError, OSError):
    """A result that could not be written; nothing half-written is left behind."""


class TrainingError(QleakyError):
    """A training that cannot go on, such as one whose loss is no number; checkpoints of earlier epochs are kept."""


class MissingDependencyError(QleakyError, ImportError):
    """An optional package that a feature needs and that is not installed."""


def missing(what: str, error: ImportError) -> ImportError:
    """The error to raise where ``what`` needs a package that cannot be imported."""
    if (error.name or "qleaky").startswith("qleaky"):
        return error
    package = (error.name or "").partition(".")[0]
    return MissingDependencyError(
        f"{what} needs the package {package!r}, which cannot be imported: {error}. Install it, for example with "
        f"`pip install {package}`, or install qleaky again.",
        name=error.name,
    )
