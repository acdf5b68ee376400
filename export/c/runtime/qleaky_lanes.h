/* qleaky lanes: sums of packed weights over events, several outputs in one register.
 *
 * A word packs the weights that one input has towards 32 / B outputs, as unsigned fields of B = 8, 4, 2 or 1 bits; field k
 * stands in bits k * B and up. The sums of a few words are kept in two registers of lanes twice as wide,
 *
 *     even += w & mask        lane k: field 2k             odd += w >> B        lane k: field 2k + 1, plus what is above it
 *
 * and what is above it, field 2k + 2 times 2^B, is taken off once at the end, since `even` has it. All of it is modulo
 * 2^32, which loses nothing while every sum of one field is below 2^(2B): `most` below is the number of events for which the
 * caller has proved that. Fuller lanes are widened in the same manner, 1 -> 2 -> 4 -> 8 -> 16 bits.
 */
#ifndef QLEAKY_LANES_H
#define QLEAKY_LANES_H

#include "qleaky_runtime.h"

#if defined(QLEAKY_DSP)
#include <arm_acle.h>
#endif

/* begin: proved
 * For B in 1, 2, 4, 8, words w[0] ... w[n-1] of fields f[t][k] = w[t] >> (k * B) mod 2^B, and sums s[k] = sum over t of f[t][k]:
 *     requires   s[k] < 2^(2B) for every k
 *     even = odd = 0; for each t: even = qleaky_even_B(even, w[t]), odd = qleaky_odd_B(odd, w[t])
 *     ensures    even = sum of s[2k] * 2^(2Bk),   qleaky_only_odd_B(even, odd) = sum of s[2k+1] * 2^(2Bk)
 * qleaky_lane16(x, k) and qleaky_lane8(x, k) are bits 16k to 16k + 15, 8k to 8k + 7, of x. */
QLEAKY_INLINE uint32_t qleaky_even_1(uint32_t even, uint32_t w) { return even + (w & 0x55555555u); }
QLEAKY_INLINE uint32_t qleaky_odd_1(uint32_t odd, uint32_t w) { return odd + (w >> 1); }
QLEAKY_INLINE uint32_t qleaky_only_odd_1(uint32_t even, uint32_t odd) { return odd - ((even >> 2) << 1); }

QLEAKY_INLINE uint32_t qleaky_even_2(uint32_t even, uint32_t w) { return even + (w & 0x33333333u); }
QLEAKY_INLINE uint32_t qleaky_odd_2(uint32_t odd, uint32_t w) { return odd + (w >> 2); }
QLEAKY_INLINE uint32_t qleaky_only_odd_2(uint32_t even, uint32_t odd) { return odd - ((even >> 4) << 2); }

QLEAKY_INLINE uint32_t qleaky_even_4(uint32_t even, uint32_t w) { return even + (w & 0x0F0F0F0Fu); }
QLEAKY_INLINE uint32_t qleaky_odd_4(uint32_t odd, uint32_t w) { return odd + (w >> 4); }
QLEAKY_INLINE uint32_t qleaky_only_odd_4(uint32_t even, uint32_t odd) { return odd - ((even >> 8) << 4); }

QLEAKY_INLINE uint32_t qleaky_even_8(uint32_t even, uint32_t w) { return even + (w & 0x00FF00FFu); }
QLEAKY_INLINE uint32_t qleaky_odd_8(uint32_t odd, uint32_t w) { return odd + (w >> 8); }
QLEAKY_INLINE uint32_t qleaky_only_odd_8(uint32_t even, uint32_t odd) { return odd - ((even >> 16) << 8); }

QLEAKY_INLINE int32_t qleaky_lane8(uint32_t lanes, uint32_t k) { return (int32_t)((lanes >> (8u * k)) & 0xFFu); }
QLEAKY_INLINE int32_t qleaky_lane16(uint32_t lanes, uint32_t k) { return (int32_t)((lanes >> (16u * k)) & 0xFFFFu); }
/* end: proved */

typedef struct qleaky_pair {
    uint32_t even, odd;
} qleaky_pair;

QLEAKY_INLINE qleaky_pair qleaky_none(void)
{
    qleaky_pair none;
    none.even = 0u;
    none.odd = 0u;
    return none;
}

/* Row `event` of rows of `words` words. */
QLEAKY_INLINE const uint32_t *qleaky_row(const uint32_t *rows, uint32_t words, uint32_t event)
{
    const uint32_t *row = rows + words * event;
    QLEAKY_IN_REGISTER(row);
    return row;
}

/* 8-bit fields into lanes of 16 bits. With the DSP extension UXTAB16 adds two fields of a word, each to its own lane. */
QLEAKY_INLINE qleaky_pair qleaky_add_8(qleaky_pair lanes, uint32_t w)
{
#if defined(QLEAKY_DSP)
    lanes.even = (uint32_t)__uxtab16((int32_t)lanes.even, (int32_t)w);
    lanes.odd = (uint32_t)__uxtab16((int32_t)lanes.odd, (int32_t)((w >> 8) | (w << 24)));
#else
    lanes.even = qleaky_even_8(lanes.even, w);
    lanes.odd = qleaky_odd_8(lanes.odd, w);
#endif
    return lanes;
}

QLEAKY_INLINE qleaky_pair qleaky_add_4(qleaky_pair lanes, uint32_t w)
{
    lanes.even = qleaky_even_4(lanes.even, w);
    lanes.odd = qleaky_odd_4(lanes.odd, w);
    return lanes;
}

QLEAKY_INLINE qleaky_pair qleaky_add_2(qleaky_pair lanes, uint32_t w)
{
    lanes.even = qleaky_even_2(lanes.even, w);
    lanes.odd = qleaky_odd_2(lanes.odd, w);
    return lanes;
}

QLEAKY_INLINE qleaky_pair qleaky_add_1(qleaky_pair lanes, uint32_t w)
{
    lanes.even = qleaky_even_1(lanes.even, w);
    lanes.odd = qleaky_odd_1(lanes.odd, w);
    return lanes;
}

/* The functions below add to sums[0] and up; fields of a word that stand `step` fields apart go to sums that do. */

/* sums[step * k] += scale * the sum of field k, for k = 0 to 3, from lanes of 16 bits. */
QLEAKY_INLINE void qleaky_flush_8(qleaky_pair lanes, int32_t scale, uint32_t step, int32_t *sums)
{
#if defined(QLEAKY_DSP)
    const uint32_t odd = lanes.odd;
#else
    const uint32_t odd = qleaky_only_odd_8(lanes.even, lanes.odd);
#endif
    sums[0] += scale * qleaky_lane16(lanes.even, 0u);
    sums[step] += scale * qleaky_lane16(odd, 0u);
    sums[2u * step] += scale * qleaky_lane16(lanes.even, 1u);
    sums[3u * step] += scale * qleaky_lane16(odd, 1u);
}

/* sums[step * k] += scale * lane k, for k = 0 to 3, lanes of 8 bits. */
QLEAKY_INLINE void qleaky_flush_lanes8(uint32_t lanes, int32_t scale, uint32_t step, int32_t *sums)
{
    sums[0] += scale * qleaky_lane8(lanes, 0u);
    sums[step] += scale * qleaky_lane8(lanes, 1u);
    sums[2u * step] += scale * qleaky_lane8(lanes, 2u);
    sums[3u * step] += scale * qleaky_lane8(lanes, 3u);
}

/* Products over events: sums[i] += scale * (sum over the events j of field i of row j), i = 0 to outputs - 1.
 *
 * qleaky_sum_BxN(rows, events, count, ..., scale, sums): fields of B bits, N outputs, rows of N * B / 32 words. `most` is the
 * number of events after which lanes must be emptied: qleaky_sum_8xN take `count` <= most themselves, with the largest field
 * times most <= 65535; the others empty their lanes every `most` events, with the largest field times most <= 255. */

QLEAKY_INLINE void qleaky_sum_8x4(const uint32_t *rows, const uint16_t *events, uint32_t count, int32_t scale, int32_t *sums)
{
    const uint16_t *const end = events + count;
    qleaky_pair a = qleaky_none();
    QLEAKY_IN_REGISTER(rows);
    QLEAKY_IN_REGISTER(sums);
    while (events != end) {
        a = qleaky_add_8(a, rows[*events++]);
    }
    qleaky_flush_8(a, scale, 1u, sums);
}

QLEAKY_INLINE void qleaky_sum_8x8(const uint32_t *rows, const uint16_t *events, uint32_t count, int32_t scale, int32_t *sums)
{
    const uint16_t *const end = events + count;
    qleaky_pair a = qleaky_none(), b = a;
    QLEAKY_IN_REGISTER(rows);
    QLEAKY_IN_REGISTER(sums);
    if (count % 2u != 0u) {
        const uint32_t *const w = qleaky_row(rows, 2u, *events++);
        a = qleaky_add_8(a, w[0]);
        b = qleaky_add_8(b, w[1]);
    }
    while (events != end) {
        const uint32_t *const w = qleaky_row(rows, 2u, events[0]);
        const uint32_t *const v = qleaky_row(rows, 2u, events[1]);
        a = qleaky_add_8(qleaky_add_8(a, w[0]), v[0]);
        b = qleaky_add_8(qleaky_add_8(b, w[1]), v[1]);
        events += 2;
    }
    qleaky_flush_8(a, scale, 1u, sums);
    qleaky_flush_8(b, scale, 1u, sums + 4);
}

QLEAKY_INLINE void qleaky_sum_8x12(const uint32_t *rows, const uint16_t *events, uint32_t count, int32_t scale, int32_t *sums)
{
    const uint16_t *const end = events + count;
    qleaky_pair a = qleaky_none(), b = a, c = a;
    QLEAKY_IN_REGISTER(rows);
    QLEAKY_IN_REGISTER(sums);
    while (events != end) {
        const uint32_t *const w = qleaky_row(rows, 3u, *events++);
        a = qleaky_add_8(a, w[0]);
        b = qleaky_add_8(b, w[1]);
        c = qleaky_add_8(c, w[2]);
    }
    qleaky_flush_8(a, scale, 1u, sums);
    qleaky_flush_8(b, scale, 1u, sums + 4);
    qleaky_flush_8(c, scale, 1u, sums + 8);
}

/* 4-bit fields fill lanes of 8 bits, those go into lanes of 16: count times the largest field <= 65535 too. */
QLEAKY_INLINE void qleaky_sum_4x8(const uint32_t *rows, const uint16_t *events, uint32_t count, uint32_t most, int32_t scale,
                                  int32_t *sums)
{
    qleaky_pair even = qleaky_none(), odd = even;
    QLEAKY_IN_REGISTER(rows);
    QLEAKY_IN_REGISTER(sums);
    while (count != 0u) {
        const uint16_t *const end = events + (count < most ? count : most);
        qleaky_pair a = qleaky_none();
        count -= (uint32_t)(end - events);
        for (; events != end; ++events) {
            a = qleaky_add_4(a, rows[*events]);
        }
        even = qleaky_add_8(even, a.even);
        odd = qleaky_add_8(odd, qleaky_only_odd_4(a.even, a.odd));
    }
    qleaky_flush_8(even, scale, 2u, sums);
    qleaky_flush_8(odd, scale, 2u, sums + 1);
}

QLEAKY_INLINE void qleaky_sum_4x16(const uint32_t *rows, const uint16_t *events, uint32_t count, uint32_t most, int32_t scale,
                                   int32_t *sums)
{
    qleaky_pair even0 = qleaky_none(), odd0 = even0, even1 = even0, odd1 = even0;
    QLEAKY_IN_REGISTER(rows);
    while (count != 0u) {
        const uint16_t *const end = events + (count < most ? count : most);
        qleaky_pair a = qleaky_none(), b = a;
        count -= (uint32_t)(end - events);
        for (; events != end; ++events) {
            const uint32_t *const w = qleaky_row(rows, 2u, *events);
            a = qleaky_add_4(a, w[0]);
            b = qleaky_add_4(b, w[1]);
        }
        even0 = qleaky_add_8(even0, a.even);
        odd0 = qleaky_add_8(odd0, qleaky_only_odd_4(a.even, a.odd));
        even1 = qleaky_add_8(even1, b.even);
        odd1 = qleaky_add_8(odd1, qleaky_only_odd_4(b.even, b.odd));
    }
    qleaky_flush_8(even0, scale, 2u, sums);
    qleaky_flush_8(odd0, scale, 2u, sums + 1);
    qleaky_flush_8(even1, scale, 2u, sums + 8);
    qleaky_flush_8(odd1, scale, 2u, sums + 9);
}

/* 2-bit fields of four events fit lanes of 4 bits (4 * 3 <= 15); those fill lanes of 8 bits. */
QLEAKY_INLINE void qleaky_sum_2x16(const uint32_t *rows, const uint16_t *events, uint32_t count, uint32_t most, int32_t scale,
                                   int32_t *sums)
{
    QLEAKY_IN_REGISTER(rows);
    while (count != 0u) {
        const uint16_t *const end = events + (count < most ? count : most);
        qleaky_pair even = qleaky_none(), odd = even;
        count -= (uint32_t)(end - events);
        while (events != end) {
            qleaky_pair a = qleaky_add_2(qleaky_none(), rows[*events++]);
            if (end - events >= 3) {
                a = qleaky_add_2(qleaky_add_2(qleaky_add_2(a, rows[events[0]]), rows[events[1]]), rows[events[2]]);
                events += 3;
            }
            even = qleaky_add_4(even, a.even);
            odd = qleaky_add_4(odd, qleaky_only_odd_2(a.even, a.odd));
        }
        qleaky_flush_lanes8(even.even, scale, 4u, sums);
        qleaky_flush_lanes8(odd.even, scale, 4u, sums + 1);
        qleaky_flush_lanes8(qleaky_only_odd_4(even.even, even.odd), scale, 4u, sums + 2);
        qleaky_flush_lanes8(qleaky_only_odd_4(odd.even, odd.odd), scale, 4u, sums + 3);
    }
}

/* Up to 15 events of 1-bit fields, which fill lanes of 4 bits by threes (3 <= lanes of 2 bits). */
QLEAKY_INLINE void qleaky_fill_1(const uint32_t *rows, const uint16_t *events, const uint16_t *end, qleaky_pair lanes[2])
{
    qleaky_pair even = qleaky_none(), odd = even;
    while (events != end) {
        qleaky_pair a = qleaky_add_1(qleaky_none(), rows[*events++]);
        if (end - events >= 2) {
            a = qleaky_add_1(qleaky_add_1(a, rows[events[0]]), rows[events[1]]);
            events += 2;
        }
        even = qleaky_add_2(even, a.even);
        odd = qleaky_add_2(odd, qleaky_only_odd_1(a.even, a.odd));
    }
    lanes[0].even = even.even;
    lanes[0].odd = qleaky_only_odd_2(even.even, even.odd);
    lanes[1].even = odd.even;
    lanes[1].odd = qleaky_only_odd_2(odd.even, odd.odd);
}

QLEAKY_INLINE void qleaky_flush_4(qleaky_pair lanes, int32_t scale, uint32_t step, int32_t *sums)
{
    qleaky_flush_lanes8(lanes.even, scale, 2u * step, sums);
    qleaky_flush_lanes8(qleaky_only_odd_4(lanes.even, lanes.odd), scale, 2u * step, sums + step);
}

QLEAKY_INLINE void qleaky_sum_1x32(const uint32_t *rows, const uint16_t *events, uint32_t count, uint32_t most, int32_t scale,
                                   int32_t *sums)
{
    QLEAKY_IN_REGISTER(rows);
    while (count != 0u) {
        const uint16_t *const end = events + (count < most ? count : most);
        qleaky_pair field0 = qleaky_none(), field1 = field0, field2 = field0, field3 = field0;
        count -= (uint32_t)(end - events);
        while (events != end) {
            const uint16_t *const stop = end - events < 15 ? end : events + 15;
            qleaky_pair lanes[2];
            qleaky_fill_1(rows, events, stop, lanes);
            field0 = qleaky_add_4(field0, lanes[0].even);
            field1 = qleaky_add_4(field1, lanes[1].even);
            field2 = qleaky_add_4(field2, lanes[0].odd);
            field3 = qleaky_add_4(field3, lanes[1].odd);
            events = stop;
        }
        qleaky_flush_4(field0, scale, 4u, sums);
        qleaky_flush_4(field1, scale, 4u, sums + 1);
        qleaky_flush_4(field2, scale, 4u, sums + 2);
        qleaky_flush_4(field3, scale, 4u, sums + 3);
    }
}

#endif
