"""Everything that stands in the way of a step graph, collected so that all of it is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from qleaky.errors import LoweringError


class Problems:
    """Sentences, each once, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, problem: str) -> None:
        """Note one."""
        self._found[problem] = None

    def update(self, problems: Iterable[str]) -> None:
        """Note several."""
        self._found.update(dict.fromkeys(problems))

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Forget what is found meanwhile."""
        before = dict(self._found)
        try:
            yield
        finally:
            self._found = before

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def raise_all(self) -> None:
        """Report them, if there are any.

        Raises:
            CannotLowerError: there are.
        """
        if self._found:
            raise CannotLowerError(tuple(self._found))


class CannotLowerError(LoweringError):
    """A network with operations that no contract holds; ``problems`` are the sentences of its message."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("The network cannot be lowered:\n" + "\n".join(f"  - {problem}" for problem in problems))
