/* RV32I and its extensions, in machine mode: start-up, output by a 16550 UART or by semihosting, instret as a counter. */
#include "qleaky_check.h"
#include "start.h"

#ifndef QLEAKY_UART
#define QLEAKY_UART 0x10000000u
#endif
#ifndef QLEAKY_TEST_DEVICE
#define QLEAKY_TEST_DEVICE 0x100000u
#endif

#define UART_LINE_STATUS 5
#define UART_CAN_TAKE 0x20u
#define TEST_PASS 0x5555u
#define TEST_FAIL 0x13333u

void qleaky_prepare(void);
void qleaky_start(void);
void qleaky_begin(void);
void qleaky_fault(void);

const char qleaky_port_unit[] = "instructions";

#ifdef QLEAKY_SEMIHOSTING
#define SYS_WRITE0 4u
#define SYS_EXIT 24u
#define APPLICATION_EXIT 0x20026u
#define RUN_TIME_ERROR 0x20023u

/* Debuggers know the call by the three instructions, uncompressed and in one page. */
static void semihost(uint32_t operation, uint32_t parameter)
{
    register uint32_t a0 __asm__("a0") = operation;
    register uint32_t a1 __asm__("a1") = parameter;
    __asm__ volatile(
        ".balign 16\n"
        ".option push\n"
        ".option norvc\n"
        "slli zero, zero, 0x1f\n"
        "ebreak\n"
        "srai zero, zero, 7\n"
        ".option pop\n"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
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
#else
void qleaky_port_write(const char *text)
{
    volatile uint8_t *const uart = (volatile uint8_t *)QLEAKY_UART;
    for (; *text != '\0'; text++) {
        while ((uart[UART_LINE_STATUS] & UART_CAN_TAKE) == 0u) {
        }
        uart[0] = (uint8_t)*text;
    }
}

/* SiFive's test device ends an emulator. */
static void leave(int code)
{
    *(volatile uint32_t *)QLEAKY_TEST_DEVICE = code == 0 ? TEST_PASS : TEST_FAIL;
    for (;;) {
    }
}
#endif

uint32_t qleaky_port_count(void)
{
#ifdef QLEAKY_COUNTER
    return *(volatile uint32_t *)QLEAKY_COUNTER; /* an emulator's own count of instructions */
#else
    uint32_t count;
    /* csrr count, minstret: by its encoding, since assemblers disagree whether Zicsr has to be named. */
    __asm__ volatile(".insn i 0x73, 2, %0, x0, -1278" : "=r"(count));
    return count;
#endif
}

uint32_t qleaky_port_between(uint32_t from, uint32_t to)
{
    return to - from;
}

void qleaky_begin(void)
{
    qleaky_prepare();
    leave(main());
}

void qleaky_fault(void)
{
    qleaky_port_write("fault\n");
    leave(1);
}

/* The stack, the global pointer, and where traps go (mtvec, CSR 0x305). */
__attribute__((naked, used, section(".start"))) void qleaky_start(void)
{
    __asm__ volatile(
        ".option push\n"
        ".option norelax\n"
        "la gp, __global_pointer$\n"
        ".option pop\n"
        "la sp, qleaky_stack_top\n"
        "la t0, qleaky_trap\n"
        ".insn i 0x73, 1, x0, t0, 0x305\n"
        "call qleaky_begin\n"
        ".balign 4\n"
        "qleaky_trap:\n"
        "call qleaky_fault\n");
}
