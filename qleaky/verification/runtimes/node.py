"""A process of node that answers messages; the protocol is written down in export/web/run_model.mjs."""

from __future__ import annotations

import json
import os
import selectors
import struct
import subprocess
import tempfile
import time
import weakref
from typing import IO, Any

from qleaky.errors import ArtefactError

PATIENCE = 600.0
MOST_BYTES = 4 << 30


class Node:
    """Starts the process, which ends with this object.

    Args:
        command: of the process.
        patience: seconds that one answer may take.
    """

    def __init__(self, command: list[str], patience: float = PATIENCE) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process; a pipe that nobody reads would fill
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0)
        self._patience = patience
        self._told = 0
        self._end = weakref.finalize(self, _end, self._process)

    def ask(self, header: dict[str, Any], data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send a message, and wait for its answer: header and bytes.

        Raises:
            ArtefactError: the answer is an error, the process ended, or it takes too long.
        """
        try:
            self._send(header, data)
            while self._told:
                self._receive()
                self._told -= 1
            answer, found = self._receive()
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            self._end()
            raise ArtefactError(f"node failed: {self._last_error() or str(error) or type(error).__name__}.") from error
        if "error" in answer:
            raise ArtefactError(str(answer["error"]).splitlines()[0][:300])
        return answer, found

    def tell(self, header: dict[str, Any]) -> None:
        """Send a message whose answer does not matter."""
        if self._end.alive and self._process.poll() is None:
            try:
                self._send(header, b"")
            except OSError:
                return
            self._told += 1

    def _send(self, header: dict[str, Any], data: bytes) -> None:
        text = json.dumps(header | {"bytes": len(data)}).encode()
        stdin = _pipe(self._process.stdin)
        for piece in (struct.pack("<I", len(text)), text, data):
            view = memoryview(piece)
            while view:
                view = view[stdin.write(view) or 0 :]

    def _receive(self) -> tuple[dict[str, Any], bytes]:
        deadline = time.monotonic() + self._patience
        (length,) = struct.unpack("<I", self._read(4, deadline))
        header = json.loads(self._read(length, deadline))
        if not 0 <= header["bytes"] <= MOST_BYTES:
            raise ValueError(f"an answer of {header['bytes']} bytes")
        return header, self._read(header["bytes"], deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        stdout, found = _pipe(self._process.stdout), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while len(found) < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no answer within {self._patience:.0f} s")
                piece = os.read(stdout.fileno(), min(count - len(found), 1 << 20))
                if not piece:
                    raise EOFError("it ended")
                found += piece
        return bytes(found)

    def _last_error(self) -> str:
        """What the process wrote last of its own: the line that begins with an error's name, else the last one."""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read()[-10_000:].decode(errors="replace").splitlines() if line.strip()]
        named = [line for line in lines if "Error" in line.partition(":")[0]]
        return (named or lines or [""])[-1][:300]


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # Popen was given PIPE
    return pipe


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it has nothing to lose, and would finish compiling before it ended by itself
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
