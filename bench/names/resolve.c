// SPDX-License-Identifier: Apache-2.0
// Connections right after DNS answers, over UDP and TCP.
//   resolve serve PORT                         "ready", then takes connections
//   resolve ask RESOLVER PORT FIRST COUNT MS   connects to each name's address
// Names are n<FIRST>.bench.example.net and so on. The second prints a line for
// each: nanoseconds from the answer's arrival to the connection, or - if there
// was none within MS.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 512
#define HEADER 12
#define TRIES 5

static long long now(void) {
  struct timespec time;

  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static _Noreturn void serve(int port) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);

  if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) ||
      listen(fd, 128))
    fail("listen");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int flow = accept(fd, NULL, NULL);

    if (flow < 0)
      fail("accept");
    close(flow);
  }
}

static size_t label(unsigned char *at, const char *text) {
  size_t length = strlen(text);

  *at = length;
  memcpy(at + 1, text, length);
  return length + 1;
}

// A question for an A record, RFC 1035 4.1.
static size_t question(unsigned char *message, unsigned number) {
  char first[16];
  size_t size = HEADER;

  memset(message, 0, MESSAGE);
  message[0] = number >> 8;
  message[1] = number;
  message[2] = 1; // recursion desired
  message[5] = 1; // one question
  snprintf(first, sizeof(first), "n%u", number);
  size += label(message + size, first);
  size += label(message + size, "bench");
  size += label(message + size, "example");
  size += label(message + size, "net");
  message[size + 2] = 1; // A
  message[size + 4] = 1; // IN
  return size + 5;
}

// The address in the only answer, at its end; a lost question is sent again.
static struct in_addr resolve(const struct sockaddr_in *resolver,
                              unsigned number, long long *at) {
  unsigned char message[MESSAGE], answer[MESSAGE];
  size_t size = question(message, number);
  struct timeval patience = {.tv_sec = 2};
  struct in_addr address;
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ssize_t got = -1;

  if (fd < 0 ||
      connect(fd, (const struct sockaddr *)resolver, sizeof(*resolver)) ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
    fail("socket");
  for (int tries = 0; tries < TRIES && got < 0; tries++) {
    if (send(fd, message, size, 0) < 0)
      fail("send");
    got = recv(fd, answer, sizeof(answer), 0);
  }
  *at = now();
  if (got < (ssize_t)(size + sizeof(address)) || answer[7] != 1)
    fail("answer");
  memcpy(&address, answer + got - sizeof(address), sizeof(address));
  close(fd);
  return address;
}

// Whether it is there in time; closed by a reset, so that no port waits.
static int connects(struct in_addr to, int port, int milliseconds) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = to};
  struct timeval patience = {.tv_sec = milliseconds / 1000,
                             .tv_usec = milliseconds % 1000 * 1000};
  struct linger none = {.l_onoff = 1};
  int fd = socket(AF_INET, SOCK_STREAM, 0), done;

  if (fd < 0 ||
      setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)))
    fail("socket");
  done = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
  close(fd);
  return done;
}

int main(int count, char **arguments) {
  struct sockaddr_in resolver = {.sin_family = AF_INET, .sin_port = htons(53)};
  int port, milliseconds;
  unsigned first, all;

  if (count == 3 && strcmp(arguments[1], "serve") == 0)
    serve(atoi(arguments[2]));
  if (count != 7) {
    fputs("usage: resolve serve PORT | ask RESOLVER PORT FIRST COUNT MS\n",
          stderr);
    return 2;
  }
  if (inet_pton(AF_INET, arguments[2], &resolver.sin_addr) != 1)
    fail(arguments[2]);
  port = atoi(arguments[3]);
  first = atoi(arguments[4]);
  all = atoi(arguments[5]);
  milliseconds = atoi(arguments[6]);
  for (unsigned i = first; i < first + all; i++) {
    long long at;
    struct in_addr to = resolve(&resolver, i, &at);

    if (connects(to, port, milliseconds))
      printf("%lld\n", now() - at);
    else
      puts("-");
  }
  return 0;
}
