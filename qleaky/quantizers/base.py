"""The base of state quantizers."""

from __future__ import annotations

from typing import Any

from torch import nn


class StateQuantizer(nn.Module):
    """Base of the quantizers that state what they do in ``spec``; applying one twice is applying it once."""

    spec: Any

    def extra_repr(self) -> str:
        return str(self.spec)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A checkpoint without quantizer entries (a float network's) leaves this one as it was constructed."""
        if any(key.startswith(prefix) for key in state_dict):
            super()._load_from_state_dict(state_dict, prefix, *args)
