"""A torch network -> its step graph: which layers are called, in which order, and how data and states flow between them.

The network runs on a copy whose leaf layers report their calls. Values are followed by identity, so any Python in
``forward`` is fine, and the user's network is never touched.
"""

from qleaky.tracing.graph import Call, Convention, Operation, StepGraph
from qleaky.tracing.recorder import trace
from qleaky.tracing.replay import TorchRecording, record

__all__ = ["Call", "Convention", "Operation", "StepGraph", "TorchRecording", "record", "trace"]
