/* Waits in known functions for known times, ROUNDS times, after half a second of short sleeps (in warm_up), in which a profiler can learn
 * what is mapped:
 *
 *   main > by_sleep   200 ms, in nanosleep
 *   main > by_lock    300 ms, for a mutex that another thread holds
 *   main > by_read    500 ms, for a byte in a pipe
 *
 * and then, if there is a second argument, so many seconds in main > at_end.
 *
 * To be built without sibling calls; with and without frame pointers.
 */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone, noipa))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ready[2], bytes[2];
static volatile int sink;

static void pause_for(long seconds, long milliseconds) {
    struct timespec time = {seconds, milliseconds * 1000000};
    nanosleep(&time, NULL);
}

static void *holder(void *unused) {
    pthread_mutex_lock(&lock);
    if (write(ready[1], "", 1) != 1) abort();
    pause_for(0, 300);
    pthread_mutex_unlock(&lock);
    return unused;
}

static void *writer(void *unused) {
    pause_for(0, 500);
    if (write(bytes[1], "", 1) != 1) abort();
    return unused;
}

APART void warm_up(void) {
    for (int i = 0; i < 100; i++) pause_for(0, 5);
    sink++;
}

APART void by_sleep(void) { pause_for(0, 200); sink++; }

APART void by_lock(void) { pthread_mutex_lock(&lock); sink++; }

APART void by_read(void) { char byte; sink += read(bytes[0], &byte, 1); }

APART void at_end(long seconds) { pause_for(seconds, 0); sink++; }

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t thread;
    char byte;

    if (pipe(ready) != 0 || pipe(bytes) != 0) abort();
    warm_up();
    while (rounds-- > 0) {
        by_sleep();
        pthread_create(&thread, NULL, holder, NULL);
        if (read(ready[0], &byte, 1) != 1) abort();
        by_lock();
        pthread_mutex_unlock(&lock);
        pthread_join(thread, NULL);
        pthread_create(&thread, NULL, writer, NULL);
        by_read();
        pthread_join(thread, NULL);
    }
    if (argc > 2) at_end(atol(argv[2]));
    return 0;
}
