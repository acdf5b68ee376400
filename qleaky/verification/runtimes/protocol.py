"""What a runtime is to ``verify``: something that loads an ONNX model and runs it on arrays by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
FORMS = ("unrolled", "scan", "step")


@dataclass(frozen=True)
class Setting:
    """One way of running: graph optimisation all or none, and the number of threads."""

    optimize: bool = True
    threads: int = 1

    def __str__(self) -> str:
        return f"optimisation {'on' if self.optimize else 'off'}, {self.threads} thread{'' if self.threads == 1 else 's'}"


class Executor(Protocol):
    """A loaded model."""

    def run(self, arrays: Arrays) -> Mapping[str, Any]:
        """All outputs of the graph by name, for all of its inputs by name; of a step graph those of one step."""


class Runtime(ABC):
    """A runtime that can be checked; a plug-in is a subclass, named in the entry-point group ``qleaky.runtimes``.

    Attributes:
        name: what users write after ``--runtime``.
        settings: the ways in which a check runs it.
        forms: the graph forms that it can run.
        exact: its operators are known to compute what ONNX defines, which the theorem behind "proved" presupposes; else
            what it computes is measured. Of plug-ins it is measured whatever they say.
    """

    name: str
    settings: ClassVar[tuple[Setting, ...]] = (Setting(),)
    forms: ClassVar[tuple[str, ...]] = FORMS
    exact: ClassVar[bool] = False

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions by package, for certificates.

        Raises:
            MissingDependencyError: a package is not installed; the message holds the command that installs it.
        """

    @abstractmethod
    def load(self, data: bytes, setting: Setting) -> Executor:
        """Load the bytes of an ONNX model.

        May raise anything: a check reports it as the reason why there is no verdict.
        """
