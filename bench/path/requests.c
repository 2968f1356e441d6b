// SPDX-License-Identifier: Apache-2.0
// Requests of one byte and their answers over TCP, and floods of datagrams.
//   requests serve ADDRESS PORT           "ready", then answers for ever
//   requests ask ADDRESS PORT MS          one connection
//   requests connect ADDRESS PORT MS      a connection for each request
//   requests flood ADDRESS PORT MS        datagrams to whatever is there
// The last three print COUNT NS CPU_NS P50_NS P99_NS; CPU_NS is what this
// process had of the CPU, with what the kernel did in its name.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES (1 << 20)
#define BATCH 32
#define SIZE 64

static unsigned samples[SAMPLES];

static long long now(clockid_t clock) {
  struct timespec time;

  clock_gettime(clock, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int tcp(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

  if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
      setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
    fail("socket");
  return fd;
}

static _Noreturn void serve(const struct sockaddr_in *address) {
  int fd = tcp(), flow, on = 1;
  char byte;

  if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) ||
      listen(fd, 128))
    fail("listen");
  puts("ready");
  fflush(stdout);
  for (;;) {
    flow = accept(fd, NULL, NULL);
    if (flow < 0)
      fail("accept");
    setsockopt(flow, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    while (read(flow, &byte, 1) == 1 && write(flow, &byte, 1) == 1)
      ;
    close(flow);
  }
}

static int connected(const struct sockaddr_in *address) {
  int fd = tcp();

  if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
    fail("connect");
  return fd;
}

static void ask(int fd) {
  char byte = 'x';

  if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
    fail("ask");
}

// Closed by a reset, so that no port waits.
static void ask_once(const struct sockaddr_in *address) {
  struct linger none = {.l_onoff = 1};
  int fd = connected(address);

  ask(fd);
  if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)))
    fail("linger");
  close(fd);
}

// Not connected, so that no ICMP error ends it.
static int flood(int fd, const struct sockaddr_in *address) {
  static char data[SIZE];
  struct mmsghdr messages[BATCH] = {};
  struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
  int sent;

  for (int i = 0; i < BATCH; i++) {
    messages[i].msg_hdr = (struct msghdr){.msg_name = (void *)address,
                                          .msg_namelen = sizeof(*address),
                                          .msg_iov = &part,
                                          .msg_iovlen = 1};
  }
  sent = sendmmsg(fd, messages, BATCH, 0);
  // EPERM: dropped on the way out.
  if (sent < 0 && errno != ENOBUFS && errno != EPERM)
    fail("sendmmsg");
  return sent < 0 ? 0 : sent;
}

static int ascending(const void *a, const void *b) {
  unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;

  return (left > right) - (left < right);
}

int main(int count, char **arguments) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  long long start, cpu, end, before, took, total = 0;
  int fd = -1, kept = 0;
  char kind;

  if (count < 4 || count > 5) {
    fputs("usage: requests serve|ask|connect|flood ADDRESS PORT [MS]\n",
          stderr);
    return 2;
  }
  kind = arguments[1][0];
  address.sin_port = htons(atoi(arguments[3]));
  if (inet_pton(AF_INET, arguments[2], &address.sin_addr) != 1)
    fail(arguments[2]);
  if (count == 4)
    serve(&address);
  if (kind == 'a')
    fd = connected(&address);
  if (kind == 'f')
    fd = socket(AF_INET, SOCK_DGRAM, 0);
  start = now(CLOCK_MONOTONIC);
  cpu = now(CLOCK_PROCESS_CPUTIME_ID);
  end = start + atoll(arguments[4]) * 1000000;
  for (before = start; before < end; before += took) {
    if (kind == 'f') {
      total += flood(fd, &address);
    } else {
      if (kind == 'a')
        ask(fd);
      else
        ask_once(&address);
      total++;
    }
    took = now(CLOCK_MONOTONIC) - before;
    if (kept < SAMPLES)
      samples[kept++] = took;
  }
  cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  qsort(samples, kept, sizeof(*samples), ascending);
  printf("%lld %lld %lld %u %u\n", total, before - start, cpu,
         samples[kept / 2], samples[(int)(kept * 0.99)]);
  return 0;
}
