"""Emitters: each turns a contract, and nothing else, into one kind of artefact."""

from qleaky.export.artefact import onnx_bytes

__all__ = ["onnx_bytes"]
