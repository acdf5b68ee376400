/* qleaky runtime: what every generated model uses. C99 and C++, freestanding, stdint.h alone, no external symbols.
 *
 * Bits: element i of a bit array is bit i % 32 of word i / 32. Bits of the last word beyond the count may be anything.
 * Events: the indices of the bits that are 1, ascending, as uint16_t.
 */
#ifndef QLEAKY_RUNTIME_H
#define QLEAKY_RUNTIME_H

#include <stdint.h>

#if defined(__GNUC__)
#define QLEAKY_INLINE static inline __attribute__((always_inline, unused))
#else
#define QLEAKY_INLINE static inline
#endif

/* The identifier names the assertion where the language has no message: C99 refuses a bit-field of negative width. */
#if defined(__cplusplus)
#define QLEAKY_STATIC_ASSERT(condition, identifier) static_assert(condition, #identifier)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define QLEAKY_STATIC_ASSERT(condition, identifier) _Static_assert(condition, #identifier)
#else
#define QLEAKY_STATIC_ASSERT(condition, identifier) \
    struct identifier {                             \
        int is_false : (condition) ? 1 : -1;        \
    }
#endif

/* C leaves the right shift of negative numbers to the compiler; rounding counts on floor(x / 2^n). */
QLEAKY_STATIC_ASSERT((-1 >> 1) == -1 && (-5 >> 1) == -3, qleaky_right_shift_is_arithmetic);
QLEAKY_STATIC_ASSERT((int32_t)0xFFFFFFFFu == -1, qleaky_conversion_to_signed_is_modular);
QLEAKY_STATIC_ASSERT(sizeof(int) >= sizeof(int32_t), qleaky_int_has_at_least_32_bits);

/* A value that the compiler must have in a register, and not know: from such a pointer it addresses what follows, where
 * clang 14 would compute a scaled index for every word. Changes no value. */
#if defined(__GNUC__)
#define QLEAKY_IN_REGISTER(value) __asm__("" : "+r"(value))
#else
#define QLEAKY_IN_REGISTER(value) ((void)(value))
#endif

/* Before a loop that a vector unit can take. clang 14 crashes where it makes vectors of such a loop for a Cortex-M55 and then
 * unrolls it. */
#if defined(__clang__) && defined(__ARM_FEATURE_MVE)
#define QLEAKY_VECTOR_LOOP _Pragma("clang loop unroll(disable)")
#else
#define QLEAKY_VECTOR_LOOP
#endif

/* sums[i] = value. The value is hidden from the compiler, which would call memset where it is 0. */
QLEAKY_INLINE void qleaky_start(int32_t *sums, uint32_t outputs, int32_t value)
{
    QLEAKY_IN_REGISTER(value);
    for (uint32_t i = 0u; i < outputs; ++i) {
        sums[i] = value;
    }
}

/* How many words hold `count` bits. */
#define QLEAKY_WORDS(count) (((count) + 31u) / 32u)

/* The ones of the last word that belong to an array of `count` bits, count >= 1. */
#define QLEAKY_LAST_WORD(count) (0xFFFFFFFFu >> ((32u - (count) % 32u) % 32u))

QLEAKY_INLINE uint32_t qleaky_bit(const uint32_t *bits, uint32_t index)
{
    return (bits[index / 32u] >> (index % 32u)) & 1u;
}

/* Bit `index` = bit; `bit` is 0 or 1. */
QLEAKY_INLINE void qleaky_set_bit(uint32_t *bits, uint32_t index, uint32_t bit)
{
    const uint32_t place = index % 32u;
    bits[index / 32u] = (bits[index / 32u] & ~((uint32_t)1 << place)) | (bit << place);
}

/* The index of the lowest 1 of a word that is not 0. Cores without an instruction for it get a table (de Bruijn's sequence),
 * for their __builtin_ctz is a call into libgcc. */
QLEAKY_INLINE uint32_t qleaky_lowest(uint32_t word)
{
#if defined(__ARM_FEATURE_CLZ) || defined(__riscv_zbb)
    return (uint32_t)__builtin_ctz(word);
#else
    static const uint8_t index[32] = {0,  1,  28, 2,  29, 14, 24, 3, 30, 22, 20, 15, 25, 17, 4,  8,
                                      31, 27, 13, 23, 21, 19, 16, 7, 26, 12, 18, 6,  11, 5,  10, 9};
    return index[((word & (0u - word)) * 0x077CB531u) >> 27];
#endif
}

/* The events of one word, whose bit 0 is index `base`; returns where the list ends. */
QLEAKY_INLINE uint16_t *qleaky_events_word(uint32_t word, uint32_t base, uint16_t *list)
{
    while (word != 0u) {
        *list++ = (uint16_t)(base + qleaky_lowest(word));
        word &= word - 1u;
    }
    return list;
}

/* The events of bits 0 to count - 1; returns how many. `list` has room for `count`, count <= 65536. */
QLEAKY_INLINE uint32_t qleaky_events(const uint32_t *bits, uint32_t count, uint16_t *list)
{
    uint16_t *end = list;
    uint32_t first = 0u;
    for (; first + 32u <= count; first += 32u) {
        end = qleaky_events_word(bits[first / 32u], first, end);
    }
    if (first < count) {
        end = qleaky_events_word(bits[first / 32u] & QLEAKY_LAST_WORD(count), first, end);
    }
    return (uint32_t)(end - list);
}

/* The events of bits first to first + count - 1, bit `first` as index `base`: a row of a window. Returns how many. */
QLEAKY_INLINE uint32_t qleaky_events_range(const uint32_t *bits, uint32_t first, uint32_t count, uint32_t base, uint16_t *list)
{
    uint16_t *end = list;
    while (count != 0u) {
        const uint32_t place = first % 32u;
        const uint32_t here = 32u - place < count ? 32u - place : count;
        const uint32_t word = (bits[first / 32u] >> place) & (0xFFFFFFFFu >> (32u - here));
        end = qleaky_events_word(word, base, end);
        first += here;
        base += here;
        count -= here;
    }
    return (uint32_t)(end - list);
}

#endif
