"""What MODEL means on the command line: a trained network by name, a saved contract, or code that builds a torch network."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qleaky._share import shared_folder
from qleaky._weights import load_weights
from qleaky.errors import ArtefactError, InputError, LoweringError, QleakyError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qleaky.fixed import QFormat
    from qleaky.integer import FloatNetwork, IntegerNetwork


BATCH = 3


@dataclass(frozen=True)
class HowToLower:
    """The command line's options about a torch network; None where one was not given."""

    num_steps: int | None = None
    time: str | None = None
    input_format: str | None = None
    input_shape: tuple[int, ...] | None = None
    readout: str | None = None
    weights: str | None = None


def load_model(reference: str, options: HowToLower) -> IntegerNetwork | FloatNetwork:
    """The contract that MODEL stands for.

    Args:
        reference: the name of a network that ships with qleaky, a ``.qleaky`` file, or ``module:callable`` or
            ``file.py:callable``, whose code runs: the callable returns the torch network, or the network and a sample of what
            its forward takes.
        options: how to lower a torch network; a saved contract takes none, a network by name a readout.

    Raises:
        InputError: there is no such model, or what it gives is no network.
        ArtefactError: a file that is missing or damaged, or weights that do not fit.
        LoweringError: the network cannot be lowered.
    """
    if ":" not in reference:
        return _saved(reference, options)
    from qleaky.integer import FloatNetwork, IntegerNetwork

    built = _call(reference)
    if isinstance(built, (IntegerNetwork, FloatNetwork)):
        return built
    net, sample = built if isinstance(built, tuple) and len(built) == 2 else (built, None)
    _check_network(net, reference)
    if options.weights is not None:
        load_weights(net, options.weights)
    return _lower(net, sample, options)


def _saved(reference: str, options: HowToLower) -> IntegerNetwork | FloatNetwork:
    from qleaky.integer import load_network

    if not reference.endswith(".qleaky"):
        return _shipped(reference, options)
    _refuse(options, f"{reference} is lowered already; leave them out, or pass the torch network.")
    return load_network(reference)


def _shipped(name: str, options: HowToLower) -> IntegerNetwork | FloatNetwork:
    if name.endswith((".pt", ".pth", ".safetensors", ".py")):
        code = name if name.endswith(".py") else "net.py"
        raise InputError(
            f"MODEL {name!r} names no network: pass the code that builds it, as {code}:callable, and the weights with "
            f"--weights."
        )
    found = sorted(path.parent.name for path in shared_folder("models").glob("*/recipe.toml"))
    if name not in found:
        ship = f"the reference models are {', '.join(found)}" if found else "no reference models ship with this version"
        raise InputError(
            f"MODEL {name!r} is unknown: {ship}. Pass a .qleaky file, or module:callable or file.py:callable, which returns "
            f"the torch network."
        )
    from qleaky.lowering import lower
    from qleaky.models import load

    _refuse(replace(options, readout=None), f"{name} is a reference model, which brings them itself; leave them out.")
    trained = load(name)
    readout = options.readout or trained.readout
    network = lower(trained.network, trained.sample_input, input_format=trained.input_format, readout=readout)
    if readout == trained.readout:
        _check_certificate(trained.folder, network)
    return network


def _check_certificate(folder: Path, network: IntegerNetwork | FloatNetwork) -> None:
    """Refuse a network that is not the one whose certificate ships beside it: other weights than were proved."""
    from qleaky.verification import Certificate

    path = folder / "certificate.json"
    certified = Certificate.load(path).contract_digest
    if certified != network.digest:
        raise ArtefactError(
            f"{path} is of contract {certified[:12]}, the weights beside it give {network.digest[:12]}: a file there was "
            f"changed. Install qleaky again."
        )


def _refuse(options: HowToLower, why: str) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in vars(options).items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)}: {why}")


def _call(reference: str) -> Any:
    """Import the code and call what it names; a module that is a network already is taken as it is."""
    home, _, name = reference.rpartition(":")
    module = _import_file(home) if home.endswith(".py") else _import_module(home)
    try:
        target = getattr(module, name)
    except AttributeError:
        raise InputError(f"{home} has no {name!r}; MODEL is {home}:callable, and the callable returns the network.") from None
    try:
        return target() if callable(target) and not _is_network(target) else target
    except QleakyError:
        raise
    except Exception as error:
        raise InputError(f"{reference}() failed: {type(error).__name__}: {error}") from error


def _import_file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise InputError(f"{path} is no Python file; MODEL is file.py:callable.")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)  # so that its classes can be copied and pickled
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _import_module(name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise InputError(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)


def _is_network(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _check_network(net: Any, reference: str) -> None:
    if not _is_network(net):
        raise InputError(
            f"{reference} gives a {type(net).__name__}; return the torch.nn.Module, or a tuple of it and a sample of what its "
            f"forward takes."
        )


def _lower(net: nn.Module, sample: Any, options: HowToLower) -> IntegerNetwork | FloatNetwork:
    from qleaky.lowering import lower

    fmt = None if options.input_format is None else parse_format(options.input_format)
    shared: dict[str, Any] = {"input_format": fmt, "readout": options.readout}
    if sample is not None:
        return lower(net, sample, num_steps=options.num_steps, time=options.time, **shared)  # type: ignore[arg-type]
    if options.num_steps is None:
        raise InputError("How many time steps? Pass --num-steps T, or let the callable return (network, sample_input) too.")
    shape, steps = options.input_shape or _first_shape(net), options.num_steps
    try:
        return lower(net, _step_sample(net, shape), num_steps=steps, time=options.time, **shared)  # type: ignore[arg-type]
    except LoweringError as error:
        if options.time == "static":
            raise
        return _lower_sequence(net, steps, shape, shared, error)


def _lower_sequence(
    net: nn.Module, steps: int, shape: tuple[int, ...], shared: dict[str, Any], otherwise: LoweringError
) -> IntegerNetwork | FloatNetwork:
    """The contract of a network that takes (T, B, ...) or (B, T, ...): of those with T steps of samples of this shape."""
    from qleaky.lowering import lower

    for lead in ((steps, BATCH), (BATCH, steps)):
        try:
            network = lower(net, _noise((*lead, *shape)), **shared)
        except LoweringError:
            continue
        if (network.num_steps, network.inputs[0].shape) == (steps, shape):
            return network
    raise otherwise


def _first_shape(net: nn.Module) -> tuple[int, ...]:
    """The shape of a sample, where the first layer with weights is a Linear."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            break
    raise InputError("The shape of one sample is not known; pass --input-shape, for example --input-shape 1,28,28.")


def _step_sample(net: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    """One step's input, and empty states for the arguments that forward takes beside it."""
    import torch

    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(net.forward).parameters.values() if p.kind in kinds]
    states = sum(p.default is inspect.Parameter.empty for p in parameters[1:])
    return (_noise((BATCH, *shape)), *(torch.zeros(0) for _ in range(states)))


def _noise(shape: tuple[int, ...]) -> Tensor:
    """Spikes at a rate of 30 %, the same ones each time."""
    import torch

    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def parse_format(text: str) -> QFormat | str:
    """``--input-format``: "spikes", or a format as qleaky prints it, such as Q3.4, UQ0.8 or UQ2.6(zero_point=128).

    Raises:
        InputError: it is neither.
    """
    from qleaky.fixed import QFormat

    return text if text == "spikes" else QFormat.parse(text)
