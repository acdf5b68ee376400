"""Runtimes by name: those that qleaky knows, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points

from qleaky.errors import InputError, MissingDependencyError
from qleaky.verification.runtimes.onnx_reference import OnnxReference
from qleaky.verification.runtimes.openvino_cpu import OpenVino
from qleaky.verification.runtimes.ort import PREFIX, OnnxRuntime
from qleaky.verification.runtimes.protocol import Runtime
from qleaky.verification.runtimes.tract_cpu import Tract
from qleaky.verification.runtimes.web import OnnxRuntimeWeb

GROUP = "qleaky.runtimes"
ALL = "all"
OWN: dict[str, Callable[[], Runtime]] = {
    PREFIX: OnnxRuntime,
    OnnxReference.name: OnnxReference,
    OpenVino.name: OpenVino,
    Tract.name: Tract,
    OnnxRuntimeWeb.name: OnnxRuntimeWeb,
}
Choice = str | Runtime


def runtime(name: str) -> Runtime:
    """The runtime of a name: one of qleaky's, ``onnxruntime:<provider>``, or a plug-in's.

    Raises:
        InputError: there is none of this name, or the plug-in of this name is none.
        MissingDependencyError: its package is not installed; with the command that installs it.
    """
    if name in OWN:
        return OWN[name]()
    if name.startswith(f"{PREFIX}:"):
        return OnnxRuntime(name.partition(":")[2])
    plugins = _plugins()
    if name not in plugins:
        raise InputError(f"runtime={name!r} is unknown. Choose one of {', '.join((*names(), ALL))}.")
    return _loaded(plugins[name])


def names() -> list[str]:
    """Every name that :func:`runtime` knows, installed or not; ONNX Runtime's providers as far as they are."""
    from qleaky.verification.runners import CPU, providers

    others = [f"{PREFIX}:{provider}" for provider in providers() if provider != CPU]
    return [PREFIX, *others, *(name for name in OWN if name != PREFIX), *sorted(_plugins())]


def installed() -> list[Runtime]:
    """Every runtime whose packages are there, in the order of :func:`names`."""
    found = []
    for name in names():
        try:
            found.append(runtime(name))
        except MissingDependencyError:
            continue
    return found


def chosen(choice: Choice | Sequence[Choice]) -> tuple[Runtime, ...]:
    """The runtimes that an argument ``runtime`` names: one, several, or "all" that are installed; none of them twice.

    Raises:
        InputError: no name at all, an unknown one, what is neither name nor Runtime, or a Runtime with another one's name.
        MissingDependencyError: a package is not installed.
    """
    choices = [choice] if isinstance(choice, str | Runtime) else list(choice) if isinstance(choice, Sequence) else [choice]
    if not choices:
        raise InputError(f"runtime is empty. Choose one of {', '.join((*names(), ALL))}.")
    found: dict[str, Runtime] = {}
    for each in choices:
        if not isinstance(each, str | Runtime):
            raise InputError(f"runtime={each!r} is neither a name nor a Runtime. Choose one of {', '.join((*names(), ALL))}.")
        for made in installed() if each == ALL else [runtime(each) if isinstance(each, str) else each]:
            _check_name(made, found.setdefault(made.name, made))
    return tuple(found.values())


def is_own(runtime: Runtime) -> bool:
    """Whether a runtime is one of qleaky's: what others say of themselves is no ground for a proof."""
    return type(runtime) in OWN.values()


def _check_name(made: Runtime, first: Runtime) -> None:
    """Refuse a runtime under whose name another would be believed to have run.

    Raises:
        InputError: it bears the name of one of qleaky's, or of another one that was chosen.
    """
    owned = made.name in OWN or made.name.startswith(f"{PREFIX}:")
    if type(made) is not type(first) or (owned and not is_own(made)):
        raise InputError(
            f"{type(made).__module__}.{type(made).__qualname__} bears the name {made.name!r}, which is another runtime's. Give "
            f"it a name of its own."
        )


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Runtime:
    try:
        made = entry.load()()
    except MissingDependencyError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"runtime {entry.name!r} of the entry point {entry.value!r} cannot be imported: {error}. Install what it needs.",
            name=error.name,
        ) from error
    except Exception as error:  # other people's code
        raise InputError(f"runtime {entry.name!r} of the entry point {entry.value!r} fails: {error}. Mend it.") from error
    if not isinstance(made, Runtime) or made.name != entry.name:
        raise InputError(
            f"the entry point {entry.name} = {entry.value!r} of the group {GROUP} gives no runtime of that name; it must name "
            f"a class of qleaky.verification.runtimes.Runtime whose name is {entry.name!r}."
        )
    return made
