"""Weights from files, without running anything that is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qleaky._files import read_file
from qleaky.errors import ArtefactError, QleakyError

if TYPE_CHECKING:
    from torch import Tensor, nn

_WRAPPER = "module."


def load_weights(net: nn.Module, path: str) -> None:
    """Load a state dict from .safetensors, or from .pt without unpickling anything but tensors.

    Raises:
        ArtefactError: the file is missing, damaged, needs unpickling, or does not fit the network.
    """
    state = _without_wrapper(_read_weights(path), net)
    try:
        net.load_state_dict(state)
    except (RuntimeError, QleakyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ArtefactError(f"{path} does not fit the network: {' '.join(lines[1:]) or lines[0]}") from error


def _read_weights(path: str) -> dict[str, Tensor]:
    read_file(path, "weights file")
    if path.endswith(".safetensors"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            loaded: dict[str, Tensor] = load_file(path)
            return loaded
        except (SafetensorError, ValueError) as error:
            raise ArtefactError(f"{path} is no safetensors file, or is damaged: {error}.") from error
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many unrelated types
        raise ArtefactError(
            f"{path} cannot be read as a state dict of tensors alone (weights_only=True), and nothing else in it is run. In "
            f"the code that made it: safetensors.torch.save_file(net.state_dict(), 'weights.safetensors'), or "
            f"torch.save(net.state_dict(), 'weights.pt'); pass that file."
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise ArtefactError(f"{path} holds a {type(state).__name__}, not a state dict; save net.state_dict().")
    return state


def _without_wrapper(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The state of a network that was saved inside a DataParallel, under its own names."""
    own = any(name.startswith(_WRAPPER) for name in net.state_dict())
    wrapped = not own and all(str(name).startswith(_WRAPPER) for name in state)
    return {name.removeprefix(_WRAPPER): tensor for name, tensor in state.items()} if wrapped else state
