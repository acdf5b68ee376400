/* A computer with an operating system: standard output, and nothing that counts. */
#include "qleaky_check.h"

#include <stdio.h>

const char qleaky_port_unit[] = "";
const char qleaky_port_stack_unknown = 1;

void qleaky_port_write(const char *text)
{
    (void)fputs(text, stdout);
}

uint32_t qleaky_port_count(void)
{
    return 0;
}

uint32_t qleaky_port_between(uint32_t from, uint32_t to)
{
    return to - from;
}

uint32_t qleaky_port_stack(void)
{
    return 0;
}
