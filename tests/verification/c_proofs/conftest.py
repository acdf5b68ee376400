"""Small neurons are drawn and compiled as the tests of the generated C do."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "export" / "c"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
