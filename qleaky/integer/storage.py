"""The ``.qleaky`` file: safetensors whose metadata holds the network's structure as JSON.

The arrays of the structure are tensors of the file, numbered in order; the JSON refers to them by number. The header
also holds the contract's digest, which :func:`load` recomputes: a damaged file is refused.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, TypeVar

import msgspec
import numpy as np

from qleaky._files import read_file
from qleaky._strict_json import printable
from qleaky.errors import ArtefactError, QleakyError

VERSION = 2
KEY = "qleaky"
LONGEST = 500  # characters of an error that others' bytes are part of
DAMAGE = (msgspec.MsgspecError, QleakyError, LookupError, AttributeError, TypeError, ValueError)
TOO_MUCH = (ArithmeticError, MemoryError, RecursionError)  # numbers and structures that no network has
Network = TypeVar("Network")


class Header(msgspec.Struct, frozen=True):
    """What the metadata of a ``.qleaky`` file holds."""

    version: int
    digest: str
    network: msgspec.Raw


def flatten(network: Any) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """The structure as canonical JSON, and its arrays under the numbers by which the JSON names them."""
    tensors: dict[str, np.ndarray[Any, Any]] = {}

    def take(value: Any) -> dict[str, str]:
        if not isinstance(value, np.ndarray):
            raise NotImplementedError(type(value).__name__)
        key = f"{len(tensors):04d}"
        tensors[key] = np.ascontiguousarray(value).reshape(value.shape)
        return {"tensor": key}

    return msgspec.json.Encoder(enc_hook=take).encode(network), tensors


def digest(network: Any) -> str:
    """SHA-256 over the canonical JSON and the little-endian bytes of every array, with its dtype and shape."""
    structure, tensors = flatten(network)
    sha = hashlib.sha256(b"qleaky-network-1\n" + structure)
    for key, tensor in tensors.items():
        sha.update(f"\n{key} {tensor.dtype.str.lstrip('<>|=')} {tensor.shape}\n".encode())
        sha.update(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes())
    return sha.hexdigest()


def to_bytes(network: Any, checksum: str) -> bytes:
    """The whole file."""
    from safetensors.numpy import save

    structure, tensors = flatten(network)
    header = msgspec.json.encode(Header(VERSION, checksum, msgspec.Raw(structure)))
    return bytes(save(tensors, metadata={KEY: header.decode()}))


def load(kind: type[Network], path: str | os.PathLike[str]) -> Network:
    """Read ``path`` as a network of type ``kind``.

    Raises:
        ArtefactError: missing, damaged, of another version, or something else.
    """
    header, tensors = _read(path)
    _check_version(header.version, path)

    def give(wanted: type, value: Any) -> Any:
        if wanted is np.ndarray or getattr(wanted, "__origin__", None) is np.ndarray:
            return tensors[value["tensor"]]
        raise NotImplementedError(wanted)

    try:
        network = msgspec.json.Decoder(kind, dec_hook=give).decode(header.network)
    except (*DAMAGE, *TOO_MUCH) as error:
        what = getattr(kind, "__name__", "network")
        raise ArtefactError(f"{path} does not hold a valid {what}: {printable(str(error), LONGEST)}") from error
    same = msgspec.json.decode(flatten(network)[0]) == msgspec.json.decode(header.network)  # no unknown and no missing field
    if not same or digest(network) != header.digest:
        raise ArtefactError(f"{path} is damaged: its content does not match the digest it carries. Export it again.")
    return network


def _check_version(version: int, path: str | os.PathLike[str]) -> None:
    if version > VERSION:
        raise ArtefactError(f"{path} has format version {version}; this qleaky reads version {VERSION}. Update qleaky.")
    if version < VERSION:
        raise ArtefactError(
            f"{path} has format version {version}; this qleaky reads version {VERSION}. Lower the network again, or read the "
            f"file with the qleaky that wrote it."
        )


def _read(path: str | os.PathLike[str]) -> tuple[Header, dict[str, np.ndarray[Any, Any]]]:
    from safetensors import SafetensorError, safe_open

    read_file(path, ".qleaky file")
    try:
        with safe_open(os.fspath(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
        return msgspec.json.decode(metadata[KEY], type=Header), tensors
    except (SafetensorError, *DAMAGE, *TOO_MUCH) as error:
        raise ArtefactError(f"{path} is not a .qleaky file, or is damaged: {printable(str(error), LONGEST)}.") from error
