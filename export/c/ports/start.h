/* What the linker scripts of bare machines say, and what start-up does before main. */
#ifndef QLEAKY_START_H
#define QLEAKY_START_H

#include <stdint.h>

extern uint32_t qleaky_data_source[];
extern uint32_t qleaky_data_start[];
extern uint32_t qleaky_data_end[];
extern uint32_t qleaky_bss_start[];
extern uint32_t qleaky_bss_end[];  /* the stack may grow down to here */
extern uint32_t qleaky_stack_top[];

int main(void);

#endif
