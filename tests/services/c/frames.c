/* Burns a processor for SECONDS of its time in spin(), which is called along a known way:
 *
 *   frames SECONDS library   main > by_library > library_call (in the library) > back > spin
 *   frames SECONDS sort      main > by_sort > qsort (in libc) > compare > spin
 *   frames SECONDS signal    main > by_signal > raise (in libc) > handler > spin
 *   frames SECONDS stack     the same, with the handler on a stack of its own
 *
 * To be built without frame pointers; with -DLIBRARY, this is the library.
 */
#include <stdint.h>

#define APART __attribute__((noinline, noclone, noipa))

extern volatile uint64_t frames_sink;

void library_call(void (*back)(void));

#ifdef LIBRARY
volatile uint64_t frames_sink;

APART void library_call(void (*back)(void)) {
    back();
    frames_sink++;
}
#else
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As long as a tick of a millisecond, on the processor's registers alone. */
APART void spin(void) {
    uint64_t x = frames_sink;
    for (uint64_t i = 0; i < 500000; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    frames_sink = x;
}

APART void back(void) {
    spin();
    frames_sink++;
}

APART void by_library(void) {
    library_call(back);
    frames_sink++;
}

APART int compare(const void *a, const void *b) {
    spin();
    frames_sink++;
    return *(const int *)a - *(const int *)b;
}

APART void by_sort(void) {
    int values[16];
    for (int i = 0; i < 16; i++)
        values[i] = i * 7 % 16;
    qsort(values, 16, sizeof *values, compare);
    frames_sink++;
}

APART void handler(int number) {
    (void)number;
    spin();
    frames_sink++;
}

APART void by_signal(void) {
    raise(SIGUSR1);
    frames_sink++;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 1;
    const char *way = argc > 2 ? argv[2] : "library";
    struct timespec used;
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    if (!strcmp(way, "stack")) {
        stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
        sigaltstack(&stack, 0);
        action.sa_flags = SA_ONSTACK;
    }
    sigaction(SIGUSR1, &action, 0);
    do {
        if (!strcmp(way, "library"))
            by_library();
        else if (!strcmp(way, "sort"))
            by_sort();
        else
            by_signal();
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec + used.tv_nsec / 1e9 < seconds);
    return 0;
}
#endif
