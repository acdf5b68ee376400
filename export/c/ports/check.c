/* Runs a model on its golden vectors and compares digests. The program's output, line by line:
 *
 *   qleaky-check 1
 *   model NAME contract HEX state BYTES
 *   sample S digest HEX                        for each sample: FNV-1a over its digests as computed here
 *   differs sample S layer L kind K step T expected HEX got HEX     for at most 8 digests
 *   instructions N                             of a step, the average; or cycles, where the machine counts these
 *   stack BYTES
 *   equal N digests of M samples               or: differs D of N digests */
#include "qleaky_check.h"

#define FNV_START 2166136261u
#define MOST_SHOWN 8u
#define MOST_COUNTED 2147483648u
#define LONGEST_TEXT 64u

#ifndef QLEAKY_VECTORS
#define QLEAKY_VECTORS model_vectors
#endif
extern const qleaky_vectors QLEAKY_VECTORS;

/* ---- Text ---- */

/* Names are of users' making: what a terminal could take for a command is not printed. */
static void put(const char *text)
{
    char chunk[LONGEST_TEXT + 1u];
    uint32_t used = 0;
    for (; *text != '\0'; text++) {
        const char c = *text;
        chunk[used++] = (c >= ' ' && c <= '~') || c == '\n' ? c : '?';
        if (used == LONGEST_TEXT) {
            chunk[used] = '\0';
            qleaky_port_write(chunk);
            used = 0;
        }
    }
    chunk[used] = '\0';
    qleaky_port_write(chunk);
}

/* A layer's name stands in the middle of a line: it ends none. */
static void put_name(const char *name)
{
    char text[2] = {0, 0};
    for (; *name != '\0'; name++) {
        text[0] = *name == '\n' ? '?' : *name;
        put(text);
    }
}

/* Writes the decimal digits of `value`, and returns how many: by subtraction, since small cores cannot divide. The powers are
 * volatile, or a compiler makes a division of it again. */
static uint32_t decimal(uint32_t value, char *text)
{
    static const volatile uint32_t powers[10] = {1000000000u, 100000000u, 10000000u, 1000000u, 100000u, 10000u, 1000u, 100u, 10u, 1u};
    uint32_t length = 0;
    for (uint32_t i = 0; i < 10u; i++) {
        char digit = '0';
        while (value >= powers[i]) {
            value -= powers[i];
            digit++;
        }
        if (digit != '0' || length > 0u || i == 9u) {
            text[length++] = digit;
        }
    }
    text[length] = '\0';
    return length;
}

static void put_number(uint32_t value)
{
    char text[11];
    (void)decimal(value, text);
    put(text);
}

static void put_hex(uint32_t value)
{
    char text[9];
    for (uint32_t i = 0; i < 8u; i++) {
        const uint32_t digit = (value >> (28u - 4u * i)) & 15u;
        text[i] = (char)(digit < 10u ? (uint32_t)'0' + digit : (uint32_t)'a' + digit - 10u);
    }
    text[8] = '\0';
    put(text);
}

/* ---- Digests: 32-bit FNV-1a ---- */

/* h * 16777619, by shifts: a core without a multiplier would call a library. */
static uint32_t hash_byte(uint32_t h, uint32_t byte)
{
    h ^= byte;
    return (h << 24) + (h << 8) + (h << 7) + (h << 4) + (h << 1) + h;
}

static uint32_t hash_text(uint32_t h, const char *text)
{
    for (; *text != '\0'; text++) {
        h = hash_byte(h, (uint32_t)*text & 255u);
    }
    return h;
}

/* A number as little-endian int32. */
static uint32_t hash_word(uint32_t h, uint32_t word)
{
    for (uint32_t shift = 0; shift < 32u; shift += 8u) {
        h = hash_byte(h, (word >> shift) & 255u);
    }
    return h;
}

static uint32_t element(const void *data, uint32_t type, uint32_t i)
{
    switch (type) {
    case QLEAKY_BITS:
        return (((const uint32_t *)data)[i >> 5] >> (i & 31u)) & 1u;
    case QLEAKY_I8:
        return (uint32_t)((const int8_t *)data)[i];
    case QLEAKY_U8:
        return ((const uint8_t *)data)[i];
    case QLEAKY_I16:
        return (uint32_t)((const int16_t *)data)[i];
    case QLEAKY_U16:
        return ((const uint16_t *)data)[i];
    default:
        return ((const uint32_t *)data)[i];
    }
}

/* The line `qleaky-digest-1 <layer> <kind> <t> <shape>\n`, then the codes. */
static uint32_t tensor_digest(const qleaky_tensor *tensor, const void *run, uint32_t t)
{
    char number[11];
    const char *const parts[8] = {"qleaky-digest-1 ", tensor->layer, " ", tensor->kind, " ", number, " ", tensor->shape};
    const void *const data = (const unsigned char *)run + tensor->offset;
    uint32_t h = FNV_START;
    (void)decimal(t, number);
    for (uint32_t i = 0; i < 8u; i++) {
        h = hash_text(h, parts[i]);
    }
    h = hash_text(h, "\n");
    for (uint32_t i = 0; i < tensor->elements; i++) {
        h = hash_word(h, element(data, tensor->type, i));
    }
    return h;
}

/* The line `qleaky-output-1 <name> <elements>\n`, then the numbers. */
static uint32_t output_digest(const qleaky_vectors *v, uint32_t index)
{
    const qleaky_output *const output = &v->output[index];
    char number[11];
    uint32_t h = hash_text(hash_text(hash_text(FNV_START, "qleaky-output-1 "), output->name), " ");
    (void)decimal(output->elements, number);
    h = hash_text(hash_text(h, number), "\n");
    for (uint32_t i = 0; i < output->elements; i++) {
        h = hash_word(h, (uint32_t)v->read(v->run, index, i));
    }
    return h;
}

/* ---- The check ---- */

typedef struct check {
    uint32_t compared;
    uint32_t differing;
    uint32_t sample;
    uint32_t digest;   /* over the digests of this sample */
    uint32_t counted;  /* steps that `units` holds */
    uint32_t units;    /* of the port's counter */
} check;

/* One digest of a step: what it is of, and both values. */
typedef struct found {
    const char *layer;
    const char *kind;
    uint32_t step;
    uint32_t expected;
    uint32_t got;
} found;

static void put_difference(uint32_t sample, const found *f)
{
    put("differs sample ");
    put_number(sample);
    put(" layer ");
    put_name(f->layer);
    put(" kind ");
    put(f->kind);
    put(" step ");
    put_number(f->step);
    put(" expected ");
    put_hex(f->expected);
    put(" got ");
    put_hex(f->got);
    put("\n");
}

static void compare(check *c, const found *f)
{
    c->compared++;
    c->digest = hash_word(c->digest, f->got);
    if (f->got != f->expected) {
        c->differing++;
        if (c->differing <= MOST_SHOWN) {
            put_difference(c->sample, f);
        }
    }
}

/* One step of the model. The sum of what the counter says stops before it could overflow. */
static void timed_step(const qleaky_vectors *v, check *c, uint32_t t)
{
    const uint32_t before = qleaky_port_count();
    v->step(v->run, c->sample, t);
    const uint32_t units = qleaky_port_between(before, qleaky_port_count());
    if (c->units < MOST_COUNTED && units < MOST_COUNTED) {
        c->units += units;
        c->counted++;
    }
}

static const uint32_t *check_steps(const qleaky_vectors *v, check *c, const uint32_t *expected)
{
    for (uint32_t t = 0; t < v->steps; t++) {
        timed_step(v, c, t);
        for (uint32_t i = 0; i < v->tensors; i++) {
            const qleaky_tensor *const tensor = &v->tensor[i];
            const found f = {tensor->layer, tensor->kind, t, expected[tensor->column], tensor_digest(tensor, v->run, t)};
            compare(c, &f);
        }
        expected += v->columns;
    }
    return expected;
}

/* Every other sample starts from rubbish, the others from where the last one ended: a reset that forgets is found. */
static void spoil(const qleaky_vectors *v)
{
    volatile unsigned char *const bytes = (volatile unsigned char *)v->run;
    for (uint32_t i = 0; i < v->run_size; i++) {
        bytes[i] = 165u;
    }
}

static void put_sample(const check *c)
{
    put("sample ");
    put_number(c->sample);
    put(" digest ");
    put_hex(c->digest);
    put("\n");
}

static void check_samples(const qleaky_vectors *v, check *c)
{
    const uint32_t *expected = v->expected;
    const uint32_t *outputs = v->expected_outputs;
    for (; c->sample < v->samples; c->sample++) {
        if ((c->sample & 1u) == 0u) {
            spoil(v);
        }
        v->reset(v->run);
        c->digest = FNV_START;
        expected = check_steps(v, c, expected);
        for (uint32_t i = 0; i < v->outputs; i++) {
            const found f = {v->output[i].name, "out", v->steps, *outputs++, output_digest(v, i)};
            compare(c, &f);
        }
        put_sample(c);
    }
}

/* numerator / denominator rounded down, by long division: small cores have none. */
static uint32_t quotient(uint32_t numerator, uint32_t denominator)
{
    uint32_t result = 0;
    uint32_t rest = 0;
    for (uint32_t bit = 32u; bit-- > 0u;) {
        const uint32_t carried = rest >> 31;
        rest = (rest << 1) | ((numerator >> bit) & 1u);
        if (carried != 0u || rest >= denominator) {
            rest -= denominator;
            result |= 1u << bit;
        }
    }
    return result;
}

static void put_costs(const check *c)
{
    if (qleaky_port_unit[0] != '\0' && c->counted > 0u) {
        put(qleaky_port_unit);
        put(" ");
        put_number(quotient(c->units, c->counted));
        put("\n");
    }
    if (qleaky_port_stack_unknown == 0) {
        const uint32_t stack = qleaky_port_stack();
        put("stack ");
        if (stack == UINT32_MAX) {
            put("overflow");
        } else {
            put_number(stack);
        }
        put("\n");
    }
}

static void put_head(const qleaky_vectors *v)
{
    put("qleaky-check 1\nmodel ");
    put_name(v->name);
    put(" contract ");
    put_name(v->contract);
    put(" state ");
    put_number(v->state_size);
    put("\n");
}

int qleaky_check(const qleaky_vectors *vectors)
{
    check c = {0, 0, 0, 0, 0, 0};
    put_head(vectors);
    check_samples(vectors, &c);
    put_costs(&c);
    put(c.differing == 0u ? "equal " : "differs ");
    put_number(c.differing == 0u ? c.compared : c.differing);
    put(c.differing == 0u ? " digests of " : " of ");
    put_number(c.differing == 0u ? vectors->samples : c.compared);
    put(c.differing == 0u ? " samples\n" : " digests\n");
    return c.differing == 0u ? 0 : 1;
}

int main(void)
{
    return qleaky_check(&QLEAKY_VECTORS);
}
