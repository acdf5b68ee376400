"""From finished trainings to a folder of ``models/``: weights, golden vectors, certificate and model card."""

from qleaky.releasing.golden import Golden
from qleaky.releasing.making import FILES, release

__all__ = ["FILES", "Golden", "release"]
