"""Checking artefacts against the contract: runners, comparison, certificates."""

from qleaky.verification.certificate import Certificate
from qleaky.verification.checking import verify
from qleaky.verification.report import Report
from qleaky.verification.runners import Runner

__all__ = ["Certificate", "Report", "Runner", "verify"]
