"""Checks of generated C: built, run on the host or an emulated microcontroller, and judged by digests."""

from qleaky.verification.mcu.checking import check_folder
from qleaky.verification.mcu.report import McuReport

__all__ = ["McuReport", "check_folder"]
