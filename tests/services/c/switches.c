/* Two processes on one processor that hand a byte to and fro through pipes: each hand-over is a context switch.
 *
 *   switches COUNT     says nanoseconds of processor time of both for a switch, and switches a second
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double used(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv) {
    long count = argc > 1 ? atol(argv[1]) : 100000;
    int to[2], fro[2];
    cpu_set_t one;
    char byte = 0;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof one, &one) || pipe(to) || pipe(fro))
        return 1;
    pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        for (long i = 0; i < count / 2; i++)
            if (read(to[0], &byte, 1) != 1 || write(fro[1], &byte, 1) != 1)
                return 1;
        return 0;
    }
    double start = now();
    for (long i = 0; i < count / 2; i++)
        if (write(to[1], &byte, 1) != 1 || read(fro[0], &byte, 1) != 1)
            return 1;
    double time = now() - start;
    int status;
    if (waitpid(child, &status, 0) != child || status)
        return 1;
    printf("%.1f %.0f\n", (used(RUSAGE_SELF) + used(RUSAGE_CHILDREN)) / count, count * 1e9 / time);
    return 0;
}
