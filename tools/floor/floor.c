/* floor: the least that any websocket server must do, to measure ours against.
 *
 * One thread, one epoll, level-triggered; recv, unmask, send; no session, no
 * room, no JSON, no Redis. What this costs is the kernel's TCP path and nothing
 * else, so our server's cost divided by this one's says what *we* add.
 *
 *     floor [--fanout] [--reply BYTES]
 *
 * It listens on a free port of 127.0.0.1 and prints it. Echo (the default)
 * answers each text frame with a frame of BYTES payload bytes (0: as long as
 * the request), made of what came; frames that arrive together are answered in
 * one send. Fan-out sends such a frame to every connection instead, one send a
 * socket. A socket that is full ends the process: a floor has no queue, and a
 * lost frame would make a wrong measurement look good.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FD = 1 << 16, BUFFER = 1 << 16, EVENTS = 512 };

static int poller, fanout, reply_bytes;
static unsigned char in[2 * BUFFER + 1], out[3 * BUFFER];

/* state of each descriptor */
static uint8_t open_ws[MAX_FD];                     /* 1: the handshake is done */
static struct rest { int len; unsigned char data[]; } *rests[MAX_FD]; /* a piece of a frame or head */
static int live[MAX_FD], place[MAX_FD], lives;      /* descriptors with an open websocket, and where each stands */

static void die(const char *what) { perror(what); exit(1); }

/* ---- the handshake: RFC 6455 4.2.2 needs SHA-1 and base64 ---- */

static uint32_t rol(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1(const unsigned char *msg, size_t len, unsigned char digest[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    unsigned char block[128] = {0};                 /* our messages have 60 bytes: two blocks */
    if (len > 100) exit(2);
    memcpy(block, msg, len);
    block[len] = 0x80;
    size_t blocks = len < 56 ? 1 : 2;
    for (int i = 0; i < 8; i++) block[blocks * 64 - 1 - i] = (unsigned char)((uint64_t)len * 8 >> 8 * i);
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = block + 64 * b + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t a = h[0], bb = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? ((bb & c) | (~bb & d)) : i < 40 ? (bb ^ c ^ d)
                       : i < 60 ? ((bb & c) | (bb & d) | (c & d)) : (bb ^ c ^ d);
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t t = rol(a, 5) + f + e + k + w[i];
            e = d; d = c; c = rol(bb, 30); bb = a; a = t;
        }
        h[0] += a; h[1] += bb; h[2] += c; h[3] += d; h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char *src, int len, char *dst) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)src[i] << 16 | (i + 1 < len ? src[i + 1] << 8 : 0) | (i + 2 < len ? src[i + 2] : 0);
        *dst++ = digits[v >> 18];
        *dst++ = digits[v >> 12 & 63];
        *dst++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *dst++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *dst = 0;
}

/* ---- sockets ---- */

static void send_all(int fd, const unsigned char *data, int len) {
    ssize_t n = send(fd, data, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == len) return;
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) return; /* its own event will close it */
    die("send: a socket is full");
}

static void end(int fd) {
    if (open_ws[fd]) {                              /* the last of the list takes its place */
        live[place[fd]] = live[--lives];
        place[live[place[fd]]] = place[fd];
    }
    open_ws[fd] = 0;
    free(rests[fd]);
    rests[fd] = NULL;
    close(fd);
}

static void greet(int fd, char *head) {
    char *key = strcasestr(head, "\r\nSec-WebSocket-Key:");
    if (!key) { end(fd); return; }
    key += 20 + strspn(key + 20, " ");
    char text[80], accept[32], answer[160];
    unsigned char digest[20];
    int n = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1((unsigned char *)text, (size_t)n, digest);
    base64(digest, 20, accept);
    n = snprintf(answer, sizeof answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    send_all(fd, (unsigned char *)answer, n);
    open_ws[fd] = 1;
    place[fd] = lives;
    live[lives++] = fd;
}

/* ---- frames ---- */

static int put_head(unsigned char *p, int op, int len) {
    p[0] = (unsigned char)(0x80 | op);
    if (len < 126) { p[1] = (unsigned char)len; return 2; }
    p[1] = 126; p[2] = (unsigned char)(len >> 8); p[3] = (unsigned char)len;
    return 4;
}

static void unmask(unsigned char *p, int len, const unsigned char key[4]) {
    uint64_t wide, k;
    unsigned char twice[8] = {key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]};
    memcpy(&k, twice, 8);
    int i = 0;
    for (; i + 8 <= len; i += 8) { memcpy(&wide, p + i, 8); wide ^= k; memcpy(p + i, &wide, 8); }
    for (; i < len; i++) p[i] ^= key[i & 3];
}

/* frame handles the first frame of p, appends its answer at *answer and returns its length; 0: not whole yet. */
static int frame(unsigned char *p, int have, unsigned char **answer, int *closing) {
    if (have < 2) return 0;
    int len = p[1] & 127, head = 2;
    if (len == 127) { *closing = 1; return 0; }     /* nothing that long is sent to a floor */
    if (len == 126) {
        if (have < 4) return 0;
        len = p[2] << 8 | p[3];
        head = 4;
    }
    if (have < head + 4 + len) return 0;
    unsigned char *payload = p + head + 4;
    unmask(payload, len, p + head);
    int op = p[0] & 15;
    if (op == 8) *closing = 1;
    if (op == 9 || op == 1) {
        unsigned char *start = *answer;
        int n = op == 1 && reply_bytes ? reply_bytes : len, copy = n < len ? n : len;
        *answer += put_head(*answer, op == 9 ? 10 : 1, n);
        memcpy(*answer, payload, (size_t)copy);
        memset(*answer + copy, ' ', (size_t)(n - copy));
        *answer += n;
        if (fanout && op == 1) {
            for (int i = 0; i < lives; i++) send_all(live[i], start, (int)(*answer - start));
            *answer = start;
        }
    }
    return head + 4 + len;
}

static void readable(int fd) {
    int have = 0;
    if (rests[fd]) {
        memcpy(in, rests[fd]->data, (size_t)rests[fd]->len);
        have = rests[fd]->len;
        free(rests[fd]);
        rests[fd] = NULL;
    }
    ssize_t n = recv(fd, in + have, BUFFER, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { end(fd); return; }
    have += (int)n;
    unsigned char *p = in, *answer = out;
    if (!open_ws[fd]) {
        in[have] = 0;
        char *blank = strstr((char *)in, "\r\n\r\n");
        if (blank) {
            greet(fd, (char *)in);
            p = (unsigned char *)blank + 4;
        }
    }
    int closing = 0;
    if (open_ws[fd])
        for (int used; (used = frame(p, (int)(in + have - p), &answer, &closing)) > 0 && !closing; p += used)
            if (answer - out > BUFFER) { send_all(fd, out, (int)(answer - out)); answer = out; }
    if (answer > out) send_all(fd, out, (int)(answer - out));
    if (closing) { end(fd); return; }
    int left = (int)(in + have - p);
    if (left > 0) {
        if (left > BUFFER) { end(fd); return; }
        if (!(rests[fd] = malloc(sizeof(struct rest) + (size_t)left))) die("malloc");
        rests[fd]->len = left;
        memcpy(rests[fd]->data, p, (size_t)left);
    }
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--fanout")) fanout = 1;
        else if (!strcmp(argv[i], "--reply") && i + 1 < argc) reply_bytes = atoi(argv[++i]);
        else { fprintf(stderr, "usage: floor [--fanout] [--reply BYTES]\n"); return 2; }
    }
    if (reply_bytes < 0 || reply_bytes > 32768) { fprintf(stderr, "--reply: 0 to 32768\n"); return 2; }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < MAX_FD ? files.rlim_max : MAX_FD;
    setrlimit(RLIMIT_NOFILE, &files);

    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &ev)) die("epoll_ctl");
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        int n = epoll_wait(poller, events, EVENTS, -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) { readable(fd); continue; }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                if (fd >= MAX_FD) { close(fd); continue; }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                struct epoll_event add = {.events = EPOLLIN, .data.fd = fd};
                if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &add)) die("epoll_ctl");
            }
        }
    }
}
