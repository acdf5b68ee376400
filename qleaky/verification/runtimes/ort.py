"""ONNX Runtime, by each of its execution providers."""

from __future__ import annotations

from typing import Any, ClassVar

from qleaky.errors import MissingDependencyError
from qleaky.verification.runners import CPU, Runner, open_session, providers, session_options, versions
from qleaky.verification.runtimes.protocol import Arrays, Runtime, Setting

PREFIX = "onnxruntime"
PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "QNNExecutionProvider": "onnxruntime-qnn",
}


class OnnxRuntime(Runtime):
    """ONNX Runtime with one execution provider, in the process; without graph optimisation and with it, by 1 and 2 threads.

    Raises:
        MissingDependencyError: this build of ONNX Runtime lacks the provider.
    """

    settings: ClassVar[tuple[Setting, ...]] = tuple(
        Setting(optimize, threads) for optimize in (False, True) for threads in (1, 2)
    )

    def __init__(self, provider: str = CPU) -> None:
        if provider not in providers():
            package = PACKAGES.get(provider, "of a package that has it")
            raise MissingDependencyError(
                f"runtime '{PREFIX}:{provider}': the installed ONNX Runtime has {', '.join(providers())}. Install a build with "
                f"this provider, `pip install {package}`, in place of onnxruntime."
            )
        self.provider = provider
        self.name = PREFIX if provider == CPU else f"{PREFIX}:{provider}"

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """The kernels of the CPU provider are; those of others are measured."""
        return self.provider == CPU

    def versions(self) -> dict[str, str]:
        """As :meth:`Runtime.versions`."""
        return versions()

    def load(self, data: bytes, setting: Setting) -> Session:
        """As :meth:`Runtime.load`."""
        options = session_options(setting.optimize, setting.threads)
        return Session(open_session(data, "the model", options, self.provider))

    def runner(self, data: bytes, setting: Setting) -> Runner:
        """What runs whole sequences, with the states of a step graph on the runtime's side, as users run it."""
        return Runner(data, optimize=setting.optimize, threads=setting.threads, provider=self.provider)


class Session:
    """A session as an :class:`Executor`."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def run(self, arrays: Arrays) -> Arrays:
        """As :meth:`Executor.run`."""
        return dict(zip(self._outputs, self._session.run(None, arrays), strict=True))
