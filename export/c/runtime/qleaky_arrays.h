/* qleaky arrays: stores that no compiler gathers into a call of memcpy or memset, which a freestanding program may lack. */
#ifndef QLEAKY_ARRAYS_H
#define QLEAKY_ARRAYS_H

#include <stdint.h>

#include "qleaky_runtime.h"

/* y[k] = value, a number that the type holds. */
QLEAKY_INLINE void qleaky_put_i8(int8_t *y, uint32_t k, int32_t value) { *(volatile int8_t *)(y + k) = (int8_t)value; }
QLEAKY_INLINE void qleaky_put_u8(uint8_t *y, uint32_t k, int32_t value) { *(volatile uint8_t *)(y + k) = (uint8_t)value; }
QLEAKY_INLINE void qleaky_put_i16(int16_t *y, uint32_t k, int32_t value) { *(volatile int16_t *)(y + k) = (int16_t)value; }
QLEAKY_INLINE void qleaky_put_u16(uint16_t *y, uint32_t k, int32_t value) { *(volatile uint16_t *)(y + k) = (uint16_t)value; }
QLEAKY_INLINE void qleaky_put_i32(int32_t *y, uint32_t k, int32_t value) { *(volatile int32_t *)(y + k) = value; }
QLEAKY_INLINE void qleaky_put_u32(uint32_t *y, uint32_t k, uint32_t value) { *(volatile uint32_t *)(y + k) = value; }

#endif
