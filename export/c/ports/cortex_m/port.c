/* Cortex-M0 to M55: vector table, start-up, output by semihosting, SysTick as a counter.
 *
 * Semihosting works in emulators, and on a board under a debugger; without one the first line of output is a fault. */
#include "qleaky_check.h"
#include "start.h"

/* Units of the counter in eighths per tick of SysTick, which counts the core's clock: 8 for cycles of a board. An emulator in
 * which an instruction takes a nanosecond has 8000 / MHz. */
#ifndef QLEAKY_TICK_EIGHTHS
#define QLEAKY_TICK_EIGHTHS 8u
#endif
#ifndef QLEAKY_UNIT
#define QLEAKY_UNIT "cycles"
#endif

#define SYS_WRITE0 4u
#define SYS_EXIT 24u
#define APPLICATION_EXIT 0x20026u
#define RUN_TIME_ERROR 0x20023u

#define SYSTICK ((volatile uint32_t *)0xE000E010u)
#define SYSTICK_ON_CORE_CLOCK 5u
#define SYSTICK_RANGE 0xFFFFFFu

void qleaky_prepare(void);
void qleaky_reset_handler(void);
void qleaky_begin(void);
void qleaky_fault(void);

const char qleaky_port_unit[] = QLEAKY_UNIT;

static void semihost(uint32_t operation, uint32_t parameter)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uint32_t r1 __asm__("r1") = parameter;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void qleaky_port_write(const char *text)
{
    semihost(SYS_WRITE0, (uint32_t)(uintptr_t)text);
}

static void leave(int code)
{
    semihost(SYS_EXIT, code == 0 ? APPLICATION_EXIT : RUN_TIME_ERROR);
    for (;;) {
    }
}

#ifdef QLEAKY_COUNTER
/* An emulator's own count of instructions, at an address. */
uint32_t qleaky_port_count(void)
{
    return *(volatile uint32_t *)QLEAKY_COUNTER;
}

uint32_t qleaky_port_between(uint32_t from, uint32_t to)
{
    return to - from;
}
#else
/* SysTick counts down from 2^24 - 1. */
uint32_t qleaky_port_count(void)
{
    return SYSTICK[2];
}

uint32_t qleaky_port_between(uint32_t from, uint32_t to)
{
    const uint32_t ticks = (from - to) & SYSTICK_RANGE;
    return (ticks >> 3) * QLEAKY_TICK_EIGHTHS + (((ticks & 7u) * QLEAKY_TICK_EIGHTHS) >> 3);
}
#endif

void qleaky_begin(void)
{
    qleaky_prepare();
    SYSTICK[1] = SYSTICK_RANGE;
    SYSTICK[2] = 0;
    SYSTICK[0] = SYSTICK_ON_CORE_CLOCK;
    leave(main());
}

void qleaky_fault(void)
{
    qleaky_port_write("fault\n");
    leave(1);
}

/* Assembly, since compiled code may use floating-point or vector registers from its first instruction: access to them (CPACR,
 * fields CP10 and CP11) comes before. */
__attribute__((naked, used)) void qleaky_reset_handler(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    __asm__ volatile(
        "ldr r0, =0xE000ED88\n"
        "ldr r1, [r0]\n"
        "orr r1, r1, #0xF00000\n"
        "str r1, [r0]\n"
        "dsb\n"
        "isb\n"
        "bl qleaky_begin\n"
        ".ltorg\n");
#else
    __asm__ volatile("bl qleaky_begin\n");
#endif
}

typedef union vector {
    uint32_t *stack;
    void (*handler)(void);
} vector;

/* No interrupt is ever enabled: the stack, reset, and the faults. */
__attribute__((section(".vectors"), used)) static const vector table[16] = {
    {.stack = qleaky_stack_top},     {.handler = qleaky_reset_handler}, {.handler = qleaky_fault}, {.handler = qleaky_fault},
    {.handler = qleaky_fault},       {.handler = qleaky_fault},         {.handler = qleaky_fault}, {.handler = qleaky_fault},
    {.handler = qleaky_fault},       {.handler = qleaky_fault},         {.handler = qleaky_fault}, {.handler = qleaky_fault},
    {.handler = qleaky_fault},       {.handler = qleaky_fault},         {.handler = qleaky_fault}, {.handler = qleaky_fault},
};
