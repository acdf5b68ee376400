/* What compilers call without being asked to: copying and filling memory, and on RV32I multiplication.
 * Arm's names (Run-time ABI for the Arm Architecture, 4.3.4) come with alignments that nothing here needs. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict target, const void *restrict source, size_t size);
void *memmove(void *target, const void *source, size_t size);
void *memset(void *target, int value, size_t size);

/* Through volatile, so that the compiler does not see what the loop does and call the function that it stands in. */
void *memcpy(void *restrict target, const void *restrict source, size_t size)
{
    volatile unsigned char *to = (volatile unsigned char *)target;
    const unsigned char *from = (const unsigned char *)source;
    for (size_t i = 0; i < size; i++) {
        to[i] = from[i];
    }
    return target;
}

void *memmove(void *target, const void *source, size_t size)
{
    volatile unsigned char *to = (volatile unsigned char *)target;
    const unsigned char *from = (const unsigned char *)source;
    if ((uintptr_t)target <= (uintptr_t)source) {
        return memcpy(target, source, size);
    }
    for (size_t i = size; i-- > 0u;) {
        to[i] = from[i];
    }
    return target;
}

void *memset(void *target, int value, size_t size)
{
    volatile unsigned char *to = (volatile unsigned char *)target;
    for (size_t i = 0; i < size; i++) {
        to[i] = (unsigned char)value;
    }
    return target;
}

#ifdef __arm__
#define COPIES(name)                                       \
    void name(void *target, const void *source, size_t size); \
    void name(void *target, const void *source, size_t size)  \
    {                                                      \
        (void)memmove(target, source, size);               \
    }
#define FILLS(name)                                  \
    void name(void *target, size_t size, int value); \
    void name(void *target, size_t size, int value)  \
    {                                                \
        (void)memset(target, value, size);           \
    }
#define CLEARS(name)                      \
    void name(void *target, size_t size); \
    void name(void *target, size_t size)  \
    {                                     \
        (void)memset(target, 0, size);    \
    }

COPIES(__aeabi_memcpy)
COPIES(__aeabi_memcpy4)
COPIES(__aeabi_memcpy8)
COPIES(__aeabi_memmove)
COPIES(__aeabi_memmove4)
COPIES(__aeabi_memmove8)
FILLS(__aeabi_memset)
FILLS(__aeabi_memset4)
FILLS(__aeabi_memset8)
CLEARS(__aeabi_memclr)
CLEARS(__aeabi_memclr4)
CLEARS(__aeabi_memclr8)
#endif

#if defined(__riscv) && !defined(__riscv_mul)
uint32_t __mulsi3(uint32_t a, uint32_t b);

/* The product modulo 2^32. */
uint32_t __mulsi3(uint32_t a, uint32_t b)
{
    uint32_t sum = 0;
    for (; b != 0u; b >>= 1) {
        sum += (b & 1u) != 0u ? a : 0u;
        a <<= 1;
    }
    return sum;
}
#endif
