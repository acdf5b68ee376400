/* Memory as C expects it, and paint where the stack will be, so that its depth can be told. */
#include "qleaky_check.h"
#include "start.h"

#define PAINT 0x5AC3A53Cu

/* How many bytes below the stack's pointer start-up leaves alone: its own frame is there. */
#define MARGIN 128u

const char qleaky_port_stack_unknown = 0;

void qleaky_prepare(void);

/* Through volatile: as plain loops these would become calls of memcpy and memset. */
void qleaky_prepare(void)
{
    const volatile uint32_t *source = qleaky_data_source;
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    for (volatile uint32_t *word = qleaky_data_start; word < qleaky_data_end; word++) {
        *word = *source++;
    }
    for (volatile uint32_t *word = qleaky_bss_start; word < qleaky_bss_end; word++) {
        *word = 0;
    }
    for (volatile uint32_t *word = qleaky_bss_end; (uintptr_t)word + MARGIN < here; word++) {
        *word = PAINT;
    }
}

uint32_t qleaky_port_stack(void)
{
    const volatile uint32_t *word = qleaky_bss_end;
    if (*word != PAINT) {
        return UINT32_MAX;
    }
    while (*word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)qleaky_stack_top - (uintptr_t)word);
}
