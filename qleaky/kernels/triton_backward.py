"""The backward pass on the GPU, in Triton, from the last step to the first; ``triton_forward`` says what its bits depend on."""

import triton
import triton.language as tl

from qleaky.kernels.triton_forward import SUBTRACT, ZERO, fires, setting

ATAN = tl.constexpr(1)
FAST_SIGMOID = tl.constexpr(2)
TRIANGULAR = tl.constexpr(4)
SPARSE_FAST_SIGMOID = tl.constexpr(5)
LEAKY_SPIKE = tl.constexpr(6)
HEAVISIDE = tl.constexpr(7)


@triton.jit
def _through_surrogate(x, grad, a, b, SURROGATE: tl.constexpr):
    fired = (x > 0.0).to(tl.float32)
    if SURROGATE == ATAN:
        y = x * a
        y = y * y + 1.0
        out = tl.div_rn(1.0, y) * b * grad
    elif SURROGATE == FAST_SIGMOID:
        y = tl.abs(x) * a + 1.0
        out = tl.div_rn(grad, y * y)
    elif SURROGATE == TRIANGULAR:
        y = grad * a
        out = tl.where(x >= 0.0, -y, y)
    elif SURROGATE == SPARSE_FAST_SIGMOID:
        y = tl.abs(x) * a + 1.0
        out = tl.div_rn(grad, y * y) * (x > b).to(tl.float32)
    elif SURROGATE == LEAKY_SPIKE:
        out = grad * fired + (1.0 - fired) * a * grad
    elif SURROGATE == HEAVISIDE:
        out = grad * fired
    else:
        out = grad
    return out


@triton.jit(do_not_specialize=["steps"])
def lif_backward(
    mem,
    betas,
    thetas,
    factors,
    mems,
    charged,
    masks,
    for_spikes,
    for_mems,
    theta_due,
    theta_fired,
    theta_reset,
    for_beta,
    graded_due,
    graded_fired,
    out,
    carry_out,
    steps,
    neurons,
    term_row,
    a,
    b,
    BETAS: tl.constexpr,
    THETAS: tl.constexpr,
    FACTORS: tl.constexpr,
    EARLY: tl.constexpr,
    LATE: tl.constexpr,
    SAME_STEP: tl.constexpr,
    INCLUSIVE: tl.constexpr,
    SURROGATE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradients of currents and first membrane; of the parameters the terms of each step, in rows of ``term_row``."""
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = neuron < neurons
    beta = setting(betas, neuron, live, BETAS)
    theta = setting(thetas, neuron, live, THETAS)
    factor = setting(factors, neuron, live, FACTORS)
    last = (steps - 1).to(tl.int64)
    row = neuron + last * neurons
    term = neuron + last * term_row
    v = tl.load(charged + row, mask=live)
    carry = tl.zeros((BLOCK,), tl.float32)
    for i in range(steps):
        if LATE:
            v = tl.load(charged + row, mask=live)
        if i < steps - 1:
            before = tl.load(mems + row - neurons, mask=live)
        else:
            before = tl.load(mem + neuron, mask=live)
        reset = fires(before, theta, INCLUSIVE)
        raw = fires(v, theta, INCLUSIVE)
        grad = carry
        if for_mems is not None:
            grad = tl.load(for_mems + row, mask=live) + carry
        if for_spikes is not None:
            grad_spike = tl.load(for_spikes + row, mask=live)
        if LATE:
            given = grad
            spike = raw * factor
            due = raw
            if not SAME_STEP:
                due = tl.div_rn(spike, factor) - reset
            if LATE == SUBTRACT:
                grad_due = -given * theta
            else:
                grad_due = -given * v
                grad = given + -given * due
            if theta_due is not None:
                tl.store(theta_due + term, -given * due, mask=live)
            if SAME_STEP:
                back = grad_due
            else:
                if graded_due is not None:
                    tl.store(graded_due + term, -grad_due * tl.div_rn(tl.div_rn(spike, factor), factor), mask=live)
                back = tl.div_rn(grad_due, factor)
            if for_mems is None:  # the last membrane has no gradient, and 0 * infinity must not make one
                grad = tl.where(i == 0, 0.0, grad)
                back = tl.where(i == 0, 0.0, back)
            if not SAME_STEP:
                if for_spikes is not None:
                    grad_spike = grad_spike + back
                else:
                    grad_spike = back
        if for_spikes is not None or (LATE and not SAME_STEP):
            if graded_fired is not None:
                tl.store(graded_fired + term, grad_spike * raw, mask=live)
            grad_raw = grad_spike * factor
            if LATE and SAME_STEP:
                grad_raw = back + grad_raw
        elif LATE:
            grad_raw = back
        if SURROGATE != 0 and (for_spikes is not None or LATE):
            fired = _through_surrogate(v - theta, grad_raw, a, b, SURROGATE)
            if theta_fired is not None:
                tl.store(theta_fired + term, -fired, mask=live)
            grad = grad + fired
        if masks is not None:
            grad = grad * tl.load(masks + row, mask=live).to(tl.float32)
        tl.store(out + row, grad, mask=live)
        if theta_reset is not None:
            tl.store(theta_reset + term, -grad * reset, mask=live)
        if EARLY == ZERO:
            if for_beta is not None:
                tl.store(for_beta + term, grad * ((1.0 - reset) * before), mask=live)
            carry = grad * beta * (1.0 - reset)
        else:
            if for_beta is not None:
                tl.store(for_beta + term, grad * before, mask=live)
            carry = grad * beta
        if not LATE:
            v = before
        row -= neurons
        term -= term_row
    tl.store(carry_out + neuron, carry, mask=live)
