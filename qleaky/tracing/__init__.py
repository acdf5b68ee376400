"""A torch network -> its step graph: what one time step computes, whichever way forward is written.

The network runs on a copy whose layers report what they do (``recorder``). Every tensor is then explained, on demand, as a
node of the step graph (``symbols``, with one table of torch functions), loops over time are rolled up and states found by
data flow (``rolling``). The user's network is never touched.
"""

from qleaky.tracing.graph import GraphInput, Mode, Neurons, Returned, StepGraph
from qleaky.tracing.nodes import Node, leaves_of
from qleaky.tracing.recorder import trace
from qleaky.tracing.replay import TorchRecording, record
from qleaky.tracing.search import step_graph

__all__ = [
    "GraphInput",
    "Mode",
    "Neurons",
    "Node",
    "Returned",
    "StepGraph",
    "TorchRecording",
    "leaves_of",
    "record",
    "step_graph",
    "trace",
]
