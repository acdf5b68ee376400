"""Numbers that quantizers meet."""

import math

from hypothesis import strategies as st

INFINITIES = [math.inf, -math.inf]


def numbers(width: int, size: float = math.inf) -> st.SearchStrategy[float]:
    """Finite floats up to ``size`` and the infinities; without subnormal ones, which have tests of their own."""
    bounds = {} if math.isinf(size) else {"min_value": -size, "max_value": size}
    floats = st.floats(**bounds, allow_nan=False, allow_infinity=False, allow_subnormal=False, width=width)  # type: ignore[arg-type]
    return floats | st.sampled_from(INFINITIES) | st.integers(-4096, 4096).map(lambda k: k / 64)
