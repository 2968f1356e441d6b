// SPDX-License-Identifier: Apache-2.0
// One end of a flow over IPv4: sends as fast as it goes for so long, or takes
// in what comes and tells how much that was.
//   flow receive udp|tcp ADDRESS PORT        "ready", then "BYTES PACKETS NS"
//   flow send udp|tcp ADDRESS PORT MS SIZE FLOWS
//     from so many ports in turn; "BYTES PACKETS CPU_NS": what this process had
//     of the CPU, with what the kernel did in its name, which for datagrams is
//     all of their path
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32
#define DATAGRAM_MAX 2048
#define BUFFER (256 * 1024)
#define START_MS 20000
#define FLOWS_MAX 1000
#define ROOM (32 * 1024 * 1024)

struct total {
  long long bytes;
  long long packets;
};

static char buffer[BUFFER];
static char datagrams[BATCH][DATAGRAM_MAX];

static long long read_clock(clockid_t clock) {
  struct timespec time;

  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long now(void) { return read_clock(CLOCK_MONOTONIC); }

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void prepare(struct mmsghdr *messages, struct iovec *parts,
                    size_t size) {
  memset(messages, 0, BATCH * sizeof(*messages));
  for (int i = 0; i < BATCH; i++) {
    parts[i] = (struct iovec){.iov_base = datagrams[i], .iov_len = size};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
}

// Waits long for the first datagram, and ends when none has come for a while.
static long long receive_udp(int fd, struct total *total) {
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  long long first = 0, last = 0;
  struct timeval patience = {.tv_usec = 500000};
  struct pollfd waiting = {.fd = fd, .events = POLLIN};
  int count;

  prepare(messages, parts, DATAGRAM_MAX);
  if (poll(&waiting, 1, START_MS) < 1 ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
    fail("poll");
  for (;;) {
    count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
    if (count < 0)
      break;
    last = now();
    if (!first)
      first = last;
    for (int i = 0; i < count; i++)
      total->bytes += messages[i].msg_len;
    total->packets += count;
  }
  if (errno != EAGAIN)
    fail("recvmmsg");
  return last - first;
}

static long long receive_tcp(int fd, struct total *total) {
  int flow = accept(fd, NULL, NULL);
  long long start = now();
  ssize_t bytes;

  if (flow < 0)
    fail("accept");
  while ((bytes = read(flow, buffer, sizeof(buffer))) > 0)
    total->bytes += bytes;
  if (bytes < 0)
    fail("read");
  return now() - start;
}

static void receive(int fd, int type) {
  struct total total = {0, 0};
  long long ns;

  if (type == SOCK_STREAM && listen(fd, 1))
    fail("listen");
  puts("ready");
  fflush(stdout);
  ns = type == SOCK_STREAM ? receive_tcp(fd, &total) : receive_udp(fd, &total);
  printf("%lld %lld %lld\n", total.bytes, total.packets, ns);
}

static void send_udp(const int *flows, int count, long long end, size_t size,
                     struct total *total) {
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  int sent, batch = count == 1 ? BATCH : 1;

  prepare(messages, parts, size);
  for (int at = 0; now() < end; at = (at + 1) % count) {
    sent = sendmmsg(flows[at], messages, batch, 0);
    if (sent < 0 && errno != ENOBUFS)
      fail("sendmmsg");
    if (sent > 0)
      total->packets += sent;
  }
  total->bytes = total->packets * size;
}

static void send_tcp(int fd, long long end, size_t size, struct total *total) {
  ssize_t written;

  while (now() < end) {
    written = write(fd, buffer, size);
    if (written < 0)
      fail("write");
    total->bytes += written;
  }
}

static int opened(int type) {
  int fd = socket(AF_INET, type, 0), on = 1;

  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
    fail("socket");
  return fd;
}

static void send_for(long long ns, const struct sockaddr_in *address, int type,
                     size_t size, int count) {
  struct total total = {0, 0};
  int flows[FLOWS_MAX];
  long long cpu, end;

  for (int i = 0; i < count; i++) {
    flows[i] = opened(type);
    if (connect(flows[i], (const struct sockaddr *)address, sizeof(*address)))
      fail("connect");
  }
  cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  end = now() + ns;
  if (type == SOCK_STREAM)
    send_tcp(flows[0], end, size, &total);
  else
    send_udp(flows, count, end, size, &total);
  cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("%lld %lld %lld\n", total.bytes, total.packets, cpu);
}

int main(int count, char **arguments) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  int type, fd, flows, room = ROOM;
  size_t size;

  if (count != 5 && count != 8) {
    fputs("usage: flow receive|send udp|tcp ADDRESS PORT [MS SIZE FLOWS]\n",
          stderr);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  type = strcmp(arguments[2], "tcp") ? SOCK_DGRAM : SOCK_STREAM;
  address.sin_port = htons(atoi(arguments[4]));
  if (inet_pton(AF_INET, arguments[3], &address.sin_addr) != 1)
    fail(arguments[3]);
  if (count == 5) {
    fd = opened(type);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)))
      fail("bind");
    receive(fd, type);
    return 0;
  }
  size = atoi(arguments[6]);
  if (size > (type == SOCK_STREAM ? BUFFER : DATAGRAM_MAX))
    size = DATAGRAM_MAX;
  flows = atoi(arguments[7]);
  if (flows < 1 || flows > FLOWS_MAX) {
    fprintf(stderr, "FLOWS: 1 to %d\n", FLOWS_MAX);
    return 2;
  }
  send_for(atoll(arguments[5]) * 1000000, &address, type, size, flows);
  return 0;
}
