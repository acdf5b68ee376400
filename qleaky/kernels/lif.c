/* A whole leaky integrate-and-fire sequence, forward and backward, in float32.
 *
 * The operations and their order are those of torch_ops.py, each rounded on its own: build with -ffp-contract=off and
 * without -ffast-math, or the bits change. Time runs outermost within a block of neurons that fits the caches; a step
 * passes over tiles of neurons that stay in the first-level cache, one simple loop per operation, which compilers vectorize.
 * No Python, no torch: rows are T steps of `neurons` floats.
 */
#ifdef __linux__
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bits are packed for little-endian machines only"
#endif

#define TILE 256    /* neurons a pass; a multiple of 8, so that packed masks of tiles start at whole bytes */
#define BLOCK 65536 /* neurons between which time starts again */
#define INLINE static inline __attribute__((always_inline))
#define EACH for (int64_t j = 0; j < n; j++)
#define ROW(pointer) ((pointer) ? (pointer) + row : 0)

enum { NONE, SUBTRACT, ZERO };
enum { PRODUCT, ROUNDED, SHIFTED, SHIFTED_AT_LEAST_ONE };
enum { FLOOR, HALF_UP, HALF_EVEN, TOWARD_ZERO };
enum { NO_GRADIENT, ATAN, FAST_SIGMOID, STRAIGHT_THROUGH, TRIANGULAR, SPARSE_FAST_SIGMOID, LEAKY_SPIKE, HEAVISIDE };

typedef struct {
    int32_t early, late, same_step, inclusive; /* resets at the start and at the end of a step; the compare */
    int32_t decay, decay_rounding, quantized, rounding, clipped, surrogate;
    float scale, step, lowest, highest, shift; /* 2^frac_bits, 2^-frac_bits, the codes' range, 2^-k */
    float a, b;                                /* the surrogate's numbers */
} Rule;

typedef struct {
    const float *values;
    int32_t per_neuron;
} Setting;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* A large output that is about to be written in full: ask for huge pages, for page faults on fresh memory would cost more time
 * than the kernel. Only a hint; whole huge pages inside the buffer alone. */
void qleaky_expect_writes(void *data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t huge = (uintptr_t)1 << 21;
    uintptr_t first = ((uintptr_t)data + huge - 1) / huge * huge, end = ((uintptr_t)data + (uintptr_t)bytes) / huge * huge;
    if (first < end) (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

/* A tile of a setting: its own numbers, or the one number repeated. */
static const float *tile_of(const Setting *setting, int64_t start, const float *repeated) {
    return setting->per_neuron ? setting->values + start : repeated;
}

static void repeat(const Setting *setting, float *out) {
    for (int j = 0; j < TILE; j++) out[j] = setting->per_neuron ? 0.0f : setting->values[0];
}

INLINE float fires(float v, float theta, int inclusive) {
    float x = v - theta;
    return (inclusive ? x >= 0.0f : x > 0.0f) ? 1.0f : 0.0f;
}

INLINE float rounded(float x, float scale, int rounding) {
    if (rounding == HALF_UP) return ceilf(floorf(x * (scale * 2.0f)) * 0.5f);
    x = x * scale;
    return rounding == FLOOR ? floorf(x) : rounding == HALF_EVEN ? rintf(x) : truncf(x);
}

static void fire(const Rule *rule, int64_t n, const float *restrict v, const float *restrict theta, float *restrict spikes) {
    if (rule->inclusive) EACH spikes[j] = fires(v[j], theta[j], 1);
    else EACH spikes[j] = fires(v[j], theta[j], 0);
}

/* Forward */

INLINE void charge_as(int early, int inclusive, int64_t n, const float *restrict before, const float *restrict x,
                      const float *restrict beta, const float *restrict theta, float *restrict v) {
    EACH {
        float reset = early ? fires(before[j], theta[j], inclusive) : 0.0f;
        float kept = early == ZERO ? (1.0f - reset) * before[j] : before[j];
        float sum = kept * beta[j] + x[j];
        v[j] = early == SUBTRACT ? sum - reset * theta[j] : sum;
    }
}

INLINE void decay_as(int decay, int rounding, const Rule *rule, int64_t n, const float *restrict kept,
                     const float *restrict beta, float *restrict out) {
    EACH {
        if (decay == ROUNDED) {
            out[j] = rounded(kept[j] * beta[j], rule->scale, rounding) * rule->step;
        } else {
            float code = kept[j] * rule->scale, lost = floorf(code * rule->shift);
            float sign = (float)(code > 0.0f) - (float)(code < 0.0f);
            if (decay == SHIFTED_AT_LEAST_ONE) lost = lost == 0.0f ? sign : lost;
            out[j] = (code - lost) * rule->step;
        }
    }
}

static void decay(const Rule *rule, int64_t n, const float *kept, const float *beta, float *out) {
    if (rule->decay == SHIFTED) { decay_as(SHIFTED, 0, rule, n, kept, beta, out); return; }
    if (rule->decay == SHIFTED_AT_LEAST_ONE) { decay_as(SHIFTED_AT_LEAST_ONE, 0, rule, n, kept, beta, out); return; }
    switch (rule->decay_rounding) {
    case FLOOR: decay_as(ROUNDED, FLOOR, rule, n, kept, beta, out); break;
    case HALF_UP: decay_as(ROUNDED, HALF_UP, rule, n, kept, beta, out); break;
    case HALF_EVEN: decay_as(ROUNDED, HALF_EVEN, rule, n, kept, beta, out); break;
    default: decay_as(ROUNDED, TOWARD_ZERO, rule, n, kept, beta, out);
    }
}

static void charge_on_grid(const Rule *rule, int64_t n, const float *restrict before, const float *restrict x,
                           const float *restrict beta, const float *restrict theta, float *restrict v) {
    float reset[TILE], kept[TILE];
    fire(rule, n, before, theta, reset);
    if (rule->early == ZERO) EACH kept[j] = (1.0f - reset[j]) * before[j];
    decay(rule, n, rule->early == ZERO ? kept : before, beta, v);
    EACH v[j] = v[j] + x[j];
    if (rule->early == SUBTRACT) EACH v[j] = v[j] - reset[j] * theta[j];
}

static void charge(const Rule *rule, int64_t n, const float *before, const float *x, const float *beta, const float *theta,
                   float *v) {
    if (rule->decay != PRODUCT) { charge_on_grid(rule, n, before, x, beta, theta, v); return; }
    switch (rule->early * 2 + rule->inclusive) {
    case SUBTRACT * 2: charge_as(SUBTRACT, 0, n, before, x, beta, theta, v); break;
    case SUBTRACT * 2 + 1: charge_as(SUBTRACT, 1, n, before, x, beta, theta, v); break;
    case ZERO * 2: charge_as(ZERO, 0, n, before, x, beta, theta, v); break;
    case ZERO * 2 + 1: charge_as(ZERO, 1, n, before, x, beta, theta, v); break;
    default: charge_as(NONE, 0, n, before, x, beta, theta, v);
    }
}

/* Bytes of 0 or 1 to bits, the first in the lowest bit, and back: eight at once, as one product moves byte k to bit k. */
#define LOW_BITS UINT64_C(0x0101010101010101)
#define SPREAD UINT64_C(0x0102040810204080)

static void pack(int64_t n, const uint8_t *bytes, uint8_t *bits) {
    for (int64_t j = 0; j < n; j += 8) {
        uint64_t word;
        memcpy(&word, bytes + j, 8);
        bits[j / 8] = (uint8_t)(word * SPREAD >> 56);
    }
}

static void unpack(int64_t n, const uint8_t *bits, uint8_t *bytes) {
    for (int64_t j = 0; j < n; j += 8) {
        uint64_t word = (bits[j / 8] & 0x7F) * UINT64_C(0x0002040810204081) & LOW_BITS; /* bit k to byte k; 7 do not collide */
        word |= (uint64_t)(bits[j / 8] >> 7) << 56;
        memcpy(bytes + j, &word, 8);
    }
}

/* Quantize v; save codes from the lowest up, and where v was inside the range. NaN stays NaN; its code means nothing. */
INLINE void quantize_as(int rounding, int saving, const Rule *rule, int64_t n, float *restrict v, uint8_t *restrict codes,
                        uint8_t *restrict inside) {
    float low = rule->lowest * rule->step, high = rule->highest * rule->step;
    EACH {
        float code = rounded(v[j], rule->scale, rounding);
        code = code < rule->lowest ? rule->lowest : code;
        code = code > rule->highest ? rule->highest : code;
        if (saving) {
            float up = code - rule->lowest;
            inside[j] = (v[j] >= low) & (v[j] <= high);
            codes[j] = (uint8_t)(int32_t)(up > 0.0f ? up : 0.0f);
        }
        v[j] = code * rule->step;
    }
}

static void quantize(const Rule *rule, int64_t n, float *v, uint8_t *codes, uint8_t *mask) {
    uint8_t inside[TILE + 8] = {0};
    switch (rule->rounding * 2 + (codes != 0)) {
    case FLOOR * 2: quantize_as(FLOOR, 0, rule, n, v, codes, inside); break;
    case FLOOR * 2 + 1: quantize_as(FLOOR, 1, rule, n, v, codes, inside); break;
    case HALF_UP * 2: quantize_as(HALF_UP, 0, rule, n, v, codes, inside); break;
    case HALF_UP * 2 + 1: quantize_as(HALF_UP, 1, rule, n, v, codes, inside); break;
    case HALF_EVEN * 2: quantize_as(HALF_EVEN, 0, rule, n, v, codes, inside); break;
    case HALF_EVEN * 2 + 1: quantize_as(HALF_EVEN, 1, rule, n, v, codes, inside); break;
    case TOWARD_ZERO * 2: quantize_as(TOWARD_ZERO, 0, rule, n, v, codes, inside); break;
    default: quantize_as(TOWARD_ZERO, 1, rule, n, v, codes, inside);
    }
    if (mask) pack(n, inside, mask);
}

/* U = V - due * (theta or V), for the reset at the end of a step. */
static void reset_late(const Rule *rule, int64_t n, const float *restrict before, const float *restrict v,
                       const float *restrict theta, const float *restrict graded, const float *restrict raw,
                       float *restrict after) {
    float reset[TILE];
    if (rule->same_step) {
        if (rule->late == SUBTRACT) EACH after[j] = v[j] - raw[j] * theta[j];
        else EACH after[j] = v[j] - raw[j] * v[j];
        return;
    }
    fire(rule, n, before, theta, reset);
    EACH {
        float due = raw[j] * graded[j] / graded[j] - reset[j];
        after[j] = v[j] - due * (rule->late == SUBTRACT ? theta[j] : v[j]);
    }
}

void qleaky_lif_forward(const Rule *rule, int64_t steps, int64_t neurons, int64_t begin, int64_t end, int32_t plain,
                        const Setting *beta, const Setting *theta, const Setting *graded, const float *currents,
                        const float *mem, float *spikes, float *mems, float *charged, uint8_t *codes, uint8_t *masks) {
    float betas[TILE], thetas[TILE], gradeds[TILE], room[TILE];
    int64_t mask_row = (neurons + 7) / 8;
    repeat(beta, betas), repeat(theta, thetas), repeat(graded, gradeds);
    for (int64_t first = begin; first < end; first += BLOCK)
        for (int64_t t = 0; t < steps; t++)
            for (int64_t start = first; start < least(first + BLOCK, end); start += TILE) {
                int64_t n = least(TILE, end - start), row = t * neurons + start;
                const float *b = tile_of(beta, start, betas), *th = tile_of(theta, start, thetas);
                const float *g = tile_of(graded, start, gradeds), *before = t ? mems + row - neurons : mem + start;
                float *after = mems + row, *spk = spikes + row;
                float *v = charged ? charged + row : rule->late ? room : after;
                charge(rule, n, before, currents + row, b, th, v);
                if (rule->quantized) quantize(rule, n, v, ROW(codes), masks ? masks + t * mask_row + start / 8 : 0);
                fire(rule, n, v, th, spk);
                if (rule->late) reset_late(rule, n, before, v, th, g, spk, after);
                if (!plain) EACH spk[j] = spk[j] * g[j];
            }
}

/* Backward */

INLINE float gradient_of(int surrogate, float a, float b, float x, float grad) {
    float y, fired = x > 0.0f ? 1.0f : 0.0f;
    switch (surrogate) {
    case ATAN:
        y = x * a;
        y = y * y + 1.0f;
        return 1.0f / y * b * grad;
    case FAST_SIGMOID:
        y = fabsf(x) * a + 1.0f;
        return grad / (y * y);
    case TRIANGULAR:
        y = grad * a;
        return x >= 0.0f ? -y : y;
    case SPARSE_FAST_SIGMOID:
        y = a * fabsf(x) + 1.0f;
        return grad / (y * y) * (x > b ? 1.0f : 0.0f);
    case LEAKY_SPIKE:
        return grad * fired + (1.0f - fired) * a * grad;
    case HEAVISIDE:
        return grad * fired;
    default:
        return grad;
    }
}

INLINE void through_as(int surrogate, const Rule *rule, int64_t n, const float *restrict v, const float *restrict theta,
                       const float *restrict grad, float *restrict fired) {
    float a = rule->a, b = rule->b;
    EACH fired[j] = gradient_of(surrogate, a, b, v[j] - theta[j], grad[j]);
}

static void through_surrogate(const Rule *rule, int64_t n, const float *v, const float *theta, const float *grad, float *fired) {
    switch (rule->surrogate) {
    case ATAN: through_as(ATAN, rule, n, v, theta, grad, fired); break;
    case FAST_SIGMOID: through_as(FAST_SIGMOID, rule, n, v, theta, grad, fired); break;
    case TRIANGULAR: through_as(TRIANGULAR, rule, n, v, theta, grad, fired); break;
    case SPARSE_FAST_SIGMOID: through_as(SPARSE_FAST_SIGMOID, rule, n, v, theta, grad, fired); break;
    case LEAKY_SPIKE: through_as(LEAKY_SPIKE, rule, n, v, theta, grad, fired); break;
    case HEAVISIDE: through_as(HEAVISIDE, rule, n, v, theta, grad, fired); break;
    default: through_as(STRAIGHT_THROUGH, rule, n, v, theta, grad, fired);
    }
}

static void decode(const Rule *rule, int64_t n, const uint8_t *restrict codes, float *restrict v) {
    float lowest = rule->lowest, step = rule->step;
    EACH v[j] = ((float)codes[j] + lowest) * step;
}

/* One step's gradients of the parameters, element by element; absent ones are null. */
typedef struct {
    float *theta_due, *theta_fired, *theta_reset, *beta, *graded_due, *graded_fired;
} Terms;

/* Through U = V - due * (theta or V): grad becomes dL/dV so far, and either grad_raw or grad_spk is filled. */
static void through_late_reset(const Rule *rule, int64_t n, int64_t row, const Terms *terms, const float *restrict v,
                               const float *restrict theta, const float *restrict graded, const float *restrict raw,
                               const float *restrict reset, const float *restrict given, float *restrict grad,
                               float *restrict grad_spk, float *restrict grad_raw) {
    float *theta_due = ROW(terms->theta_due), *graded_due = ROW(terms->graded_due);
    EACH {
        float spk = raw[j] * graded[j], due = rule->same_step ? raw[j] : spk / graded[j] - reset[j];
        float grad_due = -grad[j] * (rule->late == SUBTRACT ? theta[j] : v[j]);
        if (theta_due) theta_due[j] = -grad[j] * due;
        if (rule->late == ZERO) grad[j] = grad[j] + -grad[j] * due;
        if (rule->same_step) {
            grad_raw[j] = grad_due;
        } else {
            if (graded_due) graded_due[j] = -grad_due * (spk / graded[j] / graded[j]);
            float back = grad_due / graded[j];
            grad_spk[j] = given ? given[j] + back : back;
        }
    }
}

static void carry_back(const Rule *rule, int64_t n, int64_t row, const Terms *terms, const float *restrict before,
                       const float *restrict beta, const float *restrict reset, const float *restrict grad,
                       float *restrict carry) {
    float *theta_reset = ROW(terms->theta_reset), *for_beta = ROW(terms->beta);
    if (theta_reset) EACH theta_reset[j] = -grad[j] * reset[j];
    if (rule->early == ZERO) {
        if (for_beta) EACH for_beta[j] = grad[j] * ((1.0f - reset[j]) * before[j]);
        EACH carry[j] = grad[j] * beta[j] * (1.0f - reset[j]);
        return;
    }
    if (for_beta) EACH for_beta[j] = grad[j] * before[j];
    EACH carry[j] = grad[j] * beta[j];
}

void qleaky_lif_backward(const Rule *rule, int64_t steps, int64_t neurons, int64_t begin, int64_t end, int32_t plain,
                         const Setting *beta, const Setting *theta, const Setting *graded, const float *mem,
                         const float *mems, const float *charged, const uint8_t *codes, const uint8_t *masks,
                         const float *for_spikes, const float *for_mems, const Terms *terms, float *out, float *carry) {
    float betas[TILE], thetas[TILE], gradeds[TILE], v_room[TILE], u_room[TILE], raw[TILE], reset[TILE];
    float grad_raw[TILE], grad_spk[TILE], fired[TILE];
    uint8_t inside[TILE + 8];
    int64_t mask_row = (neurons + 7) / 8;
    int needs_reset = rule->early && (rule->early == ZERO || rule->late || terms->theta_reset);
    repeat(beta, betas), repeat(theta, thetas), repeat(graded, gradeds);
    for (int64_t first = begin; first < end; first += BLOCK)
        for (int64_t t = steps - 1; t >= 0; t--)
            for (int64_t start = first; start < least(first + BLOCK, end); start += TILE) {
                int64_t n = least(TILE, end - start), row = t * neurons + start;
                const float *b = tile_of(beta, start, betas), *th = tile_of(theta, start, thetas);
                const float *g = tile_of(graded, start, gradeds);
                const float *v = v_room, *before = u_room, *spk = ROW(for_spikes), *given = ROW(for_mems);
                float *grad = out + row, *back = carry + start;
                int has_grad = given || t < steps - 1, has_raw = 0;
                if (codes) decode(rule, n, codes + row, v_room);
                else v = charged + row;
                if (t == 0) before = mem + start;
                else if (mems) before = mems + row - neurons;
                else if (needs_reset || terms->beta) {
                    decode(rule, n, codes + row - neurons, u_room);
                    if (rule->late) {
                        float old[TILE];
                        EACH old[j] = u_room[j];
                        fire(rule, n, old, th, raw);
                        reset_late(rule, n, 0, old, th, g, raw, u_room);
                    }
                }
                if (needs_reset) fire(rule, n, before, th, reset);
                if (rule->late || terms->graded_fired) fire(rule, n, v, th, raw);
                if (given && t < steps - 1) EACH grad[j] = given[j] + back[j];
                else if (given) EACH grad[j] = given[j];
                else if (has_grad) EACH grad[j] = back[j];
                if (rule->late && has_grad) {
                    through_late_reset(rule, n, row, terms, v, th, g, raw, reset, spk, grad, grad_spk, grad_raw);
                    if (rule->same_step) has_raw = 1;
                    else spk = grad_spk;
                }
                if (spk) {
                    if (terms->graded_fired) EACH terms->graded_fired[row + j] = spk[j] * raw[j];
                    if (has_raw && plain) EACH grad_raw[j] = grad_raw[j] + spk[j];
                    else if (has_raw) EACH grad_raw[j] = grad_raw[j] + spk[j] * g[j];
                    else if (!plain) EACH grad_raw[j] = spk[j] * g[j];
                    has_raw = 1;
                }
                if (has_raw && rule->surrogate) {
                    const float *into = spk && plain && !(rule->late && rule->same_step && has_grad) ? spk : grad_raw;
                    through_surrogate(rule, n, v, th, into, fired);
                    if (terms->theta_fired) EACH terms->theta_fired[row + j] = -fired[j];
                    if (has_grad) EACH grad[j] = grad[j] + fired[j];
                    else EACH grad[j] = fired[j];
                }
                if (masks) {
                    unpack(n, masks + t * mask_row + start / 8, inside);
                    EACH grad[j] = grad[j] * (float)inside[j];
                }
                carry_back(rule, n, row, terms, before, b, reset, grad, back);
            }
}
