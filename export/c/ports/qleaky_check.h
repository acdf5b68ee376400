/* Checks a generated model against golden vectors: what check.c knows of a model, and what it asks of a machine.
 *
 * Every state of every layer and step is digested where the model runs, and compared with the digest of what the
 * reference computed. Nothing here needs a C library, division or numbers of 64 bits. */
#ifndef QLEAKY_CHECK_H
#define QLEAKY_CHECK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of a tensor. Bits: element i is bit i % 32 of word i / 32. */
enum { QLEAKY_BITS, QLEAKY_I8, QLEAKY_U8, QLEAKY_I16, QLEAKY_U16, QLEAKY_I32, QLEAKY_U32 };

/* Codes of one layer: its membranes ("mem"), what it emits ("spk"), or its synaptic currents ("syn"). */
typedef struct qleaky_tensor {
    const char *layer;
    const char *kind;
    const char *shape;  /* of a sample: sizes and commas, as the digest's line has them */
    uint32_t offset;    /* bytes from the start of `run` */
    uint32_t elements;
    uint32_t column;    /* of `expected` */
    uint32_t type;
} qleaky_tensor;

/* A readout function's numbers after the last step. */
typedef struct qleaky_output {
    const char *name;
    uint32_t elements;
} qleaky_output;

/* A model, its golden inputs (inside `step`), and the digests of what the reference computes of them. */
typedef struct qleaky_vectors {
    const char *name;
    const char *contract;              /* SHA-256 of the contract, lowercase hex */
    uint32_t state_size;               /* sizeof(NAME_state) on this machine */
    uint32_t run_size;                 /* bytes behind `run`: the state, and what the step function writes besides */
    uint32_t samples;
    uint32_t steps;
    uint32_t tensors;
    uint32_t columns;
    uint32_t outputs;
    const qleaky_tensor *tensor;
    const qleaky_output *output;
    const uint32_t *expected;          /* [samples][steps][columns] */
    const uint32_t *expected_outputs;  /* [samples][outputs] */
    void *run;
    void (*reset)(void *run);
    void (*step)(void *run, uint32_t sample, uint32_t t);
    int32_t (*read)(const void *run, uint32_t output, uint32_t element);
} qleaky_vectors;

/* Runs every sample, prints what differs, the cost and the verdict: 0 where all digests are equal, else 1. */
int qleaky_check(const qleaky_vectors *vectors);

/* What a machine gives (ports/<machine>/): printing, a counter, and how deep the stack was. */
void qleaky_port_write(const char *text);
extern const char qleaky_port_unit[];    /* of the counter: "instructions" or "cycles"; "" where there is none */
uint32_t qleaky_port_count(void);        /* the counter now, in ticks of any length */
uint32_t qleaky_port_between(uint32_t from, uint32_t to); /* two of its values -> units that went by */
extern const char qleaky_port_stack_unknown;              /* 1 where the next function cannot tell */
uint32_t qleaky_port_stack(void);        /* most bytes of stack used so far; UINT32_MAX: all there were */

#ifdef __cplusplus
}
#endif

#endif
