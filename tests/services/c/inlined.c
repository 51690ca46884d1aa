/* Burns a processor for SECONDS of its time in a function that is inlined in another one, which is inlined in a third:
 *
 *   inlined SECONDS       main > work (> mix > step)
 *
 * To be built with debug information and optimized.
 */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define PART static inline __attribute__((always_inline))
#define APART __attribute__((noinline, noclone, noipa))

static volatile uint64_t sink;

PART uint64_t step(uint64_t x) {
    return x * 6364136223846793005u + 1442695040888963407u; /* step's line */
}

PART uint64_t mix(uint64_t x, uint64_t rounds) {
    volatile uint64_t local = x;
    for (uint64_t i = 0; i < rounds; i++)
        local = step(local); /* mix's line */
    return local;
}

APART void work(void) {
    sink = mix(sink, 5000000); /* work's line */
    sink++;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    struct timespec used;

    do {
        work(); /* main's line */
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec + used.tv_nsec / 1e9 < seconds);
    return 0;
}
