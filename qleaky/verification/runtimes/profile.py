"""Which provider of ONNX Runtime really computed which nodes, from the trace of one run."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


class Profile:
    """Traces a session from its creation until :meth:`end`."""

    def __init__(self, options: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qleaky-")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "trace")

    def end(self, session: Any) -> dict[str, int]:
        """Stop tracing: nodes that ran, by provider."""
        with self._folder:
            return nodes_by_provider(json.loads(Path(session.end_profiling()).read_bytes()))


def nodes_by_provider(events: list[dict[str, Any]]) -> dict[str, int]:
    """Nodes of a trace by provider, each counted once however often it ran."""
    ran = {
        (args["provider"], event.get("name"), args.get("node_index"))
        for event in events
        if event.get("cat") == "Node" and (args := event.get("args", {})).get("provider")
    }
    return dict(sorted(Counter(provider for provider, *_ in ran).items()))
