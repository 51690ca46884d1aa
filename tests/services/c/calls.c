/* A client and a server of HTTP/1.1 that send and receive by the system calls they are told to use.
 *
 *   calls server ADDRESS SEND RECEIVE
 *   calls client ADDRESS SEND RECEIVE TAG COUNT SIZE
 *
 * ADDRESS is PORT (on 127.0.0.1) or the path of a Unix socket. SEND: write writev send sendto sendmsg sendmmsg
 * sendfile splice partial uring. RECEIVE: read readv recv recvfrom recvmsg recvmmsg peek splice uring.
 *
 * The client sends COUNT requests `POST /call/TAG/i` with SIZE + i bytes of body, on one connection; the server answers
 * each with twice as many bytes. The client prints "connected" when it is, waits for a line on its standard input, and
 * prints a line "i sent received start end" for each request (bytes of the bodies; CLOCK_REALTIME in nanoseconds).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *how_send, *how_receive;
static struct io_uring ring;
static int pipe_ends[2];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static ssize_t checked(ssize_t n, const char *what) {
    if (n < 0) die(what);
    return n;
}

static int is(const char *a, const char *b) { return strcmp(a, b) == 0; }

/* What io_uring says about one operation that it has done. */
static ssize_t uring_wait(void) {
    struct io_uring_cqe *done;
    io_uring_submit(&ring);
    if (io_uring_wait_cqe(&ring, &done) < 0) die("io_uring");
    ssize_t n = done->res;
    io_uring_cqe_seen(&ring, done);
    if (n < 0) {
        errno = (int)-n;
        die("io_uring operation");
    }
    return n;
}

static void write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = checked(write(fd, data, size), "write");
        data += n;
        size -= (size_t)n;
    }
}

/* The body without a copy through this process: only its size can be seen. */
static void send_body_zero_copy(int fd, const char *body, size_t size) {
    if (is(how_send, "sendfile")) {
        int file = (int)checked(memfd_create("body", 0), "memfd_create");
        write_all(file, body, size);
        off_t at = 0;
        while ((size_t)at < size) checked(sendfile(fd, file, &at, size - (size_t)at), "sendfile");
        close(file);
        return;
    }
    while (size) {
        ssize_t n = checked(write(pipe_ends[1], body, size < 65536 ? size : 65536), "write to the pipe");
        body += n;
        size -= (size_t)n;
        while (n) n -= checked(splice(pipe_ends[0], NULL, fd, NULL, (size_t)n, size ? SPLICE_F_MORE : 0), "splice");
    }
}

/* Everything in one call that takes several buffers: the head in two parts, the body in two parts. */
static ssize_t send_vector(int fd, const char *data, size_t size, size_t head) {
    size_t half = head / 2, rest = (size - head) / 2;
    struct iovec parts[5] = {
        {(void *)data, half},
        {(void *)(data + half), head - half},
        {(void *)(data + head), 0},
        {(void *)(data + head), rest},
        {(void *)(data + head + rest), size - head - rest},
    };
    if (is(how_send, "writev")) return writev(fd, parts, 5);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 5};
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* Three messages in one call: half of the head; the rest of it and of the body the beginning; the remaining body. */
static void send_messages(int fd, const char *data, size_t size, size_t head) {
    size_t half = head / 2, rest = (size - head) / 2;
    struct iovec parts[4] = {
        {(void *)data, half},
        {(void *)(data + half), head - half},
        {(void *)(data + head), rest},
        {(void *)(data + head + rest), size - head - rest},
    };
    struct mmsghdr messages[3] = {
        {.msg_hdr = {.msg_iov = parts, .msg_iovlen = 1}},
        {.msg_hdr = {.msg_iov = parts + 1, .msg_iovlen = 2}},
        {.msg_hdr = {.msg_iov = parts + 3, .msg_iovlen = 1}},
    };
    if (checked(sendmmsg(fd, messages, 3, MSG_NOSIGNAL), "sendmmsg") != 3) die("sendmmsg sent fewer messages");
    if (messages[0].msg_len + messages[1].msg_len + messages[2].msg_len != size) die("sendmmsg sent fewer bytes");
}

/* A socket that does not block and has little room: each call takes a part. */
static void send_partly(int fd, const char *data, size_t size) {
    int flags = fcntl(fd, F_GETFL), room = 4096;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (size) {
        ssize_t n = write(fd, data, size);
        if (n < 0) {
            if (errno != EAGAIN) die("write");
            struct pollfd ready = {fd, POLLOUT, 0};
            poll(&ready, 1, -1);
            continue;
        }
        data += n;
        size -= (size_t)n;
    }
    fcntl(fd, F_SETFL, flags);
}

static void send_message(int fd, const char *data, size_t size, size_t head) {
    if (is(how_send, "sendfile") || is(how_send, "splice")) {
        write_all(fd, data, head);
        send_body_zero_copy(fd, data + head, size - head);
        return;
    }
    if (is(how_send, "sendmmsg")) {
        send_messages(fd, data, size, head);
        return;
    }
    if (is(how_send, "partial")) {
        send_partly(fd, data, size);
        return;
    }
    while (size) {
        ssize_t n;
        if (is(how_send, "write"))
            n = write(fd, data, size);
        else if (is(how_send, "send"))
            n = send(fd, data, size, MSG_NOSIGNAL);
        else if (is(how_send, "sendto"))
            n = sendto(fd, data, size, MSG_NOSIGNAL, NULL, 0);
        else if (is(how_send, "uring")) {
            io_uring_prep_send(io_uring_get_sqe(&ring), fd, data, size, MSG_NOSIGNAL);
            n = uring_wait();
        } else
            n = send_vector(fd, data, size, head < size ? head : size / 2);
        n = checked(n, how_send);
        data += n;
        size -= (size_t)n;
        head = head > (size_t)n ? head - (size_t)n : 0;
    }
}

static ssize_t receive(int fd, char *data, size_t room) {
    size_t half = room / 3;
    struct iovec parts[3] = {{data, half}, {data + half, 0}, {data + half, room - half}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    if (is(how_receive, "read") || is(how_receive, "splice")) return read(fd, data, room);
    if (is(how_receive, "readv")) return readv(fd, parts, 3);
    if (is(how_receive, "recv")) return recv(fd, data, room, 0);
    if (is(how_receive, "recvfrom")) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        return recvfrom(fd, data, room, 0, (struct sockaddr *)&from, &length);
    }
    if (is(how_receive, "recvmsg")) return recvmsg(fd, &message, 0);
    if (is(how_receive, "recvmmsg")) {
        struct iovec first = {data, half}, second = {data + half, room - half};
        struct mmsghdr messages[2] = {
            {.msg_hdr = {.msg_iov = &first, .msg_iovlen = 1}},
            {.msg_hdr = {.msg_iov = &second, .msg_iovlen = 1}},
        };
        int n = recvmmsg(fd, messages, 2, MSG_WAITFORONE, NULL);
        if (n < 0) return n;
        /* A short first message leaves a gap before the second. */
        if (n == 2 && messages[0].msg_len < half) memmove(data + messages[0].msg_len, data + half, messages[1].msg_len);
        return (ssize_t)messages[0].msg_len + (n == 2 ? (ssize_t)messages[1].msg_len : 0);
    }
    if (is(how_receive, "peek")) {
        ssize_t n = recv(fd, data, room, MSG_PEEK);
        return n <= 0 ? n : recv(fd, data, (size_t)n, 0);
    }
    if (is(how_receive, "uring")) {
        io_uring_prep_recv(io_uring_get_sqe(&ring), fd, data, room, 0);
        return uring_wait();
    }
    die(how_receive);
    return -1;
}

/* Receives one message. Returns the size of its body, or -1 at the end of the connection; `*value` is its Content-Length. */
static long receive_message(int fd, char *first_line, size_t line_room) {
    static char data[65536 + 1];
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        size_t room = sizeof data - 1 - have;
        if (is(how_receive, "splice")) {
            /* The head by read, to its last byte, so that all of the body can be spliced. */
            ssize_t n = recv(fd, data, sizeof data - 1, MSG_PEEK);
            if (n <= 0) return -1;
            data[n] = 0;
            char *found = strstr(data, "\r\n\r\n");
            if (!found) continue;
            room = (size_t)(found + 4 - data);
        }
        ssize_t n = receive(fd, data + have, room);
        if (n <= 0) return -1;
        have += (size_t)n;
        data[have] = 0;
        end = strstr(data, "\r\n\r\n");
    }
    char *field = strstr(data, "Content-Length: ");
    long length = field ? atol(field + 16) : 0;
    size_t head = (size_t)(end + 4 - data), line = (size_t)(strchr(data, '\r') - data);
    snprintf(first_line, line_room, "%.*s", (int)line, data);
    long body = (long)(have - head);
    int sink = -1;
    while (body < length) {
        size_t want = (size_t)(length - body) < sizeof data - 1 ? (size_t)(length - body) : sizeof data - 1;
        ssize_t n;
        if (is(how_receive, "splice")) {
            if (sink < 0) sink = (int)checked(open("/dev/null", O_WRONLY), "/dev/null");
            n = checked(splice(fd, NULL, pipe_ends[1], NULL, want, 0), "splice");
            for (ssize_t left = n; left;) left -= checked(splice(pipe_ends[0], NULL, sink, NULL, (size_t)left, 0), "splice");
        } else
            n = receive(fd, data, want);
        if (n <= 0) return -1;
        body += n;
    }
    if (sink >= 0) close(sink);
    return body;
}

static int open_socket(const char *address, int serve) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address))};
    inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int local = address[0] == '/', on = 1;
    strncpy(path.sun_path, address, sizeof path.sun_path - 1);
    struct sockaddr *name = local ? (struct sockaddr *)&path : (struct sockaddr *)&inet;
    socklen_t length = local ? sizeof path : sizeof inet;
    int fd = (int)checked(socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0), "socket");
    if (!serve) {
        checked(connect(fd, name, length), "connect");
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        checked(bind(fd, name, length), "bind");
        checked(listen(fd, 16), "listen");
    }
    if (!local) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static char *message_of(const char *start, long body, size_t *size, size_t *head) {
    char *data = malloc((size_t)body + 512);
    *head = (size_t)snprintf(data, 512, "%s\r\nContent-Length: %ld\r\n\r\n", start, body);
    memset(data + *head, 'x', (size_t)body);
    *size = *head + (size_t)body;
    return data;
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void serve(const char *address) {
    int listener = open_socket(address, 1);
    char line[256];
    for (;;) {
        int fd = (int)checked(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4");
        long body;
        while ((body = receive_message(fd, line, sizeof line)) >= 0) {
            size_t size, head;
            char *data = message_of("HTTP/1.1 200 OK", 2 * body, &size, &head);
            send_message(fd, data, size, head);
            free(data);
        }
        close(fd);
    }
}

static void request(const char *address, const char *tag, int count, long size) {
    int fd = open_socket(address, 0);
    char line[256];
    puts("connected");
    if (!fgets(line, sizeof line, stdin)) exit(1);
    for (int i = 0; i < count; i++) {
        size_t total, head;
        snprintf(line, sizeof line, "POST /call/%s/%d HTTP/1.1\r\nHost: calls", tag, i);
        char *data = message_of(line, size + i, &total, &head);
        long long start = now();
        send_message(fd, data, total, head);
        free(data);
        long body = receive_message(fd, line, sizeof line);
        if (body < 0) exit(2);
        printf("%d %ld %ld %lld %lld\n", i, size + i, body, start, now());
    }
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 5) return 64;
    how_send = argv[3];
    how_receive = argv[4];
    if (is(how_send, "uring") || is(how_receive, "uring"))
        if (io_uring_queue_init(8, &ring, 0) < 0) die("io_uring_queue_init");
    checked(pipe(pipe_ends), "pipe");
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (is(argv[1], "server"))
        serve(argv[2]);
    else if (argc == 8)
        request(argv[2], argv[5], atoi(argv[6]), atol(argv[7]));
    return 0;
}
