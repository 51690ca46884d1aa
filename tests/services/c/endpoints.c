/* An HTTP/1.1 server, one thread for each connection, whose endpoints are known by the functions that they spend their time in:
 *
 *   endpoints PORT
 *
 *   /light/ID, /medium/ID, /heavy/ID    burn_light, burn_medium, burn_heavy: one, two and four parts of processor time
 *   /sleep/ID    20 ms of sleep
 *   /lock/ID     a mutex that each request holds for 2 ms, sleeping
 *   /network/ID  what another thread sends 10 ms after it was asked
 *   /disk/ID     a file that is written and synchronised
 *
 * Each answer says what the thread itself has measured from when it had read the request, in nanoseconds: "X-Cpu", its processor time,
 * and "X-Wait", how long it was in the call that the endpoint is named after.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define APART __attribute__((noinline, noclone, noipa))
#define PART 400000

static volatile uint64_t sink;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define WORK(rounds)                                                        \
    volatile uint64_t local = 0;                                            \
    for (uint64_t i = 0; i < (rounds); i++)                                 \
        local = local * 6364136223846793005u + 1442695040888963407u

APART void burn_light(void) { WORK(PART); sink++; }

APART void burn_medium(void) { WORK(2 * PART); sink++; }

APART void burn_heavy(void) { WORK(4 * PART); sink++; }

static uint64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void rest(unsigned milliseconds) {
    struct timespec time = {0, milliseconds * 1000000L};
    nanosleep(&time, NULL);
}

static void *echo(void *arg) {
    int fd = (int)(intptr_t)arg;
    char byte;
    while (read(fd, &byte, 1) == 1) {
        rest(10);
        if (write(fd, &byte, 1) != 1) break;
    }
    close(fd);
    return NULL;
}

/* The endpoint's work. Returns how long the thread was in the call that it is about. */
static uint64_t work(const char *path, int *peer, int file) {
    uint64_t start = now(CLOCK_MONOTONIC);
    char byte = 0;
    if (!strncmp(path, "/light/", 7)) {
        burn_light();
    } else if (!strncmp(path, "/medium/", 8)) {
        burn_medium();
    } else if (!strncmp(path, "/heavy/", 7)) {
        burn_heavy();
    } else if (!strncmp(path, "/sleep/", 7)) {
        rest(20);
    } else if (!strncmp(path, "/lock/", 6)) {
        pthread_mutex_lock(&mutex);
        uint64_t waited = now(CLOCK_MONOTONIC) - start;
        rest(2);
        pthread_mutex_unlock(&mutex);
        return waited;
    } else if (!strncmp(path, "/network/", 9)) {
        if (*peer < 0) {
            int ends[2];
            pthread_t thread;
            socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
            pthread_create(&thread, NULL, echo, (void *)(intptr_t)ends[1]);
            pthread_detach(thread);
            *peer = ends[0];
            start = now(CLOCK_MONOTONIC);
        }
        if (write(*peer, &byte, 1) != 1 || read(*peer, &byte, 1) != 1) exit(1);
    } else if (!strncmp(path, "/disk/", 6)) {
        char block[65536];
        memset(block, path[6], sizeof block);
        if (pwrite(file, block, sizeof block, 0) != sizeof block) exit(1);
        start = now(CLOCK_MONOTONIC);
        fsync(file);
    }
    return now(CLOCK_MONOTONIC) - start;
}

static void *serve(void *arg) {
    int fd = (int)(intptr_t)arg, peer = -1;
    char name[] = "endpoints-XXXXXX", request[4096], answer[256], path[256];
    int file = mkstemp(name);
    unlink(name);
    for (;;) {
        size_t have = 0;
        while (have < 4 || memcmp(request + have - 4, "\r\n\r\n", 4)) {
            ssize_t n = read(fd, request + have, sizeof request - 1 - have);
            if (n <= 0) goto end;
            have += (size_t)n;
        }
        request[have] = 0;
        if (sscanf(request, "GET %255s ", path) != 1) goto end;
        uint64_t cpu = now(CLOCK_THREAD_CPUTIME_ID);
        uint64_t waited = work(path, &peer, file);
        cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
        int len = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cpu: %lu\r\nX-Wait: %lu\r\n\r\nok",
                           (unsigned long)cpu, (unsigned long)waited);
        if (write(fd, answer, (size_t)len) != len) goto end;
    }
end:
    if (peer >= 0) close(peer);
    close(file);
    close(fd);
    return NULL;
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "8080"));
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_t thread;
        pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
        pthread_detach(thread);
    }
}
