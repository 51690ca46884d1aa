/* Burns a processor for SECONDS of its time, in functions that are called along known ways:
 *
 *   burn SECONDS          main > outer > inner > burn_most: 75 %; main > other > burn_some: 25 %
 *   burn SECONDS DEPTH    main > deep (DEPTH times and once more) > burn_most
 *
 * To be built without sibling calls; with and without frame pointers.
 */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define APART __attribute__((noinline, noclone, noipa))

static volatile uint64_t sink;

/* Each round needs the one before it, so that all rounds take the same time; and what it works on is on the stack, because GCC gives a
 * function that calls nothing and keeps nothing there no frame, whatever it is told. */
#define WORK(rounds)                                                        \
    volatile uint64_t local = 0;                                            \
    for (uint64_t i = 0; i < (rounds); i++)                                 \
        local = local * 6364136223846793005u + 1442695040888963407u

APART void burn_most(void) { WORK(7500000); sink++; }

APART void burn_some(void) { WORK(2500000); sink++; }

APART void inner(void) { burn_most(); sink++; }

APART void outer(void) { inner(); sink++; }

APART void other(void) { burn_some(); sink++; }

APART void deep(unsigned depth) {
    if (depth > 0)
        deep(depth - 1);
    else
        burn_most();
    sink++;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    unsigned depth = argc > 2 ? atoi(argv[2]) : 0;
    struct timespec used;

    do {
        if (depth > 0) {
            deep(depth);
        } else {
            outer();
            other();
        }
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec + used.tv_nsec / 1e9 < seconds);
    return 0;
}
