/* Hears spoken digits: one inference for each recording of recordings.h, which spoken_digit.py writes; one line for each. */
#include "ports/qleaky_check.h"
#include "recordings.h"
#include "spoken.h"

static spoken_state state;

/* Forty frames of 32 log-mel bands, as they come; then the class. */
static uint32_t hear(const spoken_code frames[spoken_STEPS][32])
{
    spoken_reset(&state);
    for (uint32_t t = 0; t < spoken_STEPS; t++) {
        spoken_step_i8(&state, frames[t], 0);
    }
    return spoken_argmax(&state, 0);
}

int main(void)
{
    for (uint32_t i = 0; i < RECORDINGS; i++) {
        const char line[3] = {(char)('0' + (char)hear(recordings[i])), '\n', '\0'};
        qleaky_port_write(line);
    }
    return 0;
}
