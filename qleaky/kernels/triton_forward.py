"""The forward pass on the GPU, in Triton: the operations of ``lif.c`` in its order, so those of ``torch_ops``.

A program takes a block of neurons through all steps. To be launched with ``enable_fp_fusion=False``, or the compiler fuses
products and sums and the bits change. Division is ``tl.div_rn``, rounded to nearest as IEEE 754 and torch have it: Triton turns
``/`` on float32 into ``div.full.f32``, which may be two units in the last place off. Rounding to integers is made of sums and
comparisons: Triton 3.9 turns ``tl.floor`` and ``tl.ceil`` into instructions that flush subnormal numbers to zero, whose floor
may be -1.
"""

import triton
import triton.language as tl

SUBTRACT = tl.constexpr(1)
ZERO = tl.constexpr(2)
PRODUCT = tl.constexpr(0)
ROUNDED = tl.constexpr(1)
SHIFTED_AT_LEAST_ONE = tl.constexpr(3)
FLOOR = tl.constexpr(0)
HALF_UP = tl.constexpr(1)
HALF_EVEN = tl.constexpr(2)
ALL_WHOLE = tl.constexpr(8388608.0)  # 2**23: from here on every float32 is an integer


@triton.jit
def setting(values, neuron, live, PER_NEURON: tl.constexpr):
    """A parameter of the block's neurons: its own numbers, or the one number of all."""
    if PER_NEURON:
        found = tl.load(values + neuron, mask=live)
    else:
        found = tl.load(values)
    return found


@triton.jit
def fires(v, theta, INCLUSIVE: tl.constexpr):
    """1 where the membrane is above the threshold (or on it), else 0."""
    shift = v - theta
    if INCLUSIVE:
        fired = shift >= 0.0
    else:
        fired = shift > 0.0
    return fired.to(tl.float32)


@triton.jit
def _nearest(x):
    size = tl.abs(x)
    near = (size + ALL_WHOLE) - ALL_WHOLE  # the sum is rounded to an integer, ties to even
    return tl.where(size < ALL_WHOLE, tl.where(x < 0.0, -near, near), x)


@triton.jit
def _floor(x):
    near = _nearest(x)
    return tl.where(near > x, near - 1.0, near)


@triton.jit
def _ceil(x):
    near = _nearest(x)
    return tl.where(near < x, near + 1.0, near)


@triton.jit
def _rounded(x, scale, ROUNDING: tl.constexpr):
    if ROUNDING == HALF_UP:
        code = _ceil(_floor(x * (scale * 2.0)) * 0.5)
    elif ROUNDING == FLOOR:
        code = _floor(x * scale)
    elif ROUNDING == HALF_EVEN:
        code = _nearest(x * scale)
    else:
        scaled = x * scale
        code = tl.where(scaled < 0.0, _ceil(scaled), _floor(scaled))
    return code


@triton.jit
def _decayed(kept, beta, scale, step, shift, DECAY: tl.constexpr, ROUNDING: tl.constexpr):
    if DECAY == PRODUCT:
        decayed = kept * beta
    elif DECAY == ROUNDED:
        decayed = _rounded(kept * beta, scale, ROUNDING) * step
    else:
        code = kept * scale
        lost = _floor(code * shift)
        if DECAY == SHIFTED_AT_LEAST_ONE:
            sign = (code > 0.0).to(tl.float32) - (code < 0.0).to(tl.float32)
            lost = tl.where(lost == 0.0, sign, lost)
        decayed = (code - lost) * step
    return decayed


@triton.jit(do_not_specialize=["steps"])
def lif_forward(
    currents,
    mem,
    betas,
    thetas,
    factors,
    spikes,
    mems,
    charged,
    masks,
    steps,
    neurons,
    scale,
    step,
    lowest,
    highest,
    shift,
    BETAS: tl.constexpr,
    THETAS: tl.constexpr,
    FACTORS: tl.constexpr,
    EARLY: tl.constexpr,
    LATE: tl.constexpr,
    SAME_STEP: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    DECAY: tl.constexpr,
    DECAY_ROUNDING: tl.constexpr,
    QUANTIZED: tl.constexpr,
    ROUNDING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Spikes and membranes (steps, neurons), and where the pointers are not None membranes when they fire and where they were
    inside the quantizer's range."""
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = neuron < neurons
    beta = setting(betas, neuron, live, BETAS)
    theta = setting(thetas, neuron, live, THETAS)
    factor = setting(factors, neuron, live, FACTORS)
    before = tl.load(mem + neuron, mask=live)
    row = neuron
    for _ in range(steps):
        reset = fires(before, theta, INCLUSIVE)
        kept = before
        if EARLY == ZERO:
            kept = (1.0 - reset) * before
        v = _decayed(kept, beta, scale, step, shift, DECAY, DECAY_ROUNDING) + tl.load(currents + row, mask=live)
        if EARLY == SUBTRACT:
            v = v - reset * theta
        if QUANTIZED:
            if masks is not None:
                within = (v >= lowest * step) & (v <= highest * step)
                tl.store(masks + row, within.to(tl.uint8), mask=live)
            code = _rounded(v, scale, ROUNDING)
            code = tl.where(code < lowest, lowest, code)  # comparisons, and not minimum and maximum, leave a NaN alone
            code = tl.where(code > highest, highest, code)
            v = code * step
        raw = fires(v, theta, INCLUSIVE)
        after = v
        if LATE:
            due = raw
            if not SAME_STEP:
                due = tl.div_rn(raw * factor, factor) - reset
            if LATE == SUBTRACT:
                after = v - due * theta
            else:
                after = v - due * v
        if charged is not None:
            tl.store(charged + row, v, mask=live)
        tl.store(mems + row, after, mask=live)
        tl.store(spikes + row, raw * factor, mask=live)
        before = after
        row += neurons
