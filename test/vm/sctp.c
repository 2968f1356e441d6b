// SPDX-License-Identifier: Apache-2.0
// One end of an SCTP association of one byte each way, IPv4 or IPv6.
//   sctp listen PORT             answers for ever; "ready" when it can
//   sctp connect ADDRESS PORT    exits 0 when it was answered within 3 s
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_S 3

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static _Noreturn void listen_on(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP), on = 1;
  char byte;

  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
      bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 8))
    fail("listen");
  puts("ready");
  fflush(stdout);
  for (;;) {
    int flow = accept(fd, NULL, NULL);

    if (flow < 0)
      fail("accept");
    if (read(flow, &byte, 1) == 1 && write(flow, &byte, 1) != 1)
      perror("write");
    close(flow);
  }
}

static int connect_to(const char *host, const char *port) {
  struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,
                           .ai_socktype = SOCK_STREAM},
                  *found;
  char byte = 'x';
  int fd;

  // A blocking connect() of SCTP has no timeout of its own.
  alarm(PATIENCE_S);
  if (getaddrinfo(host, port, &hints, &found))
    fail(host);
  fd = socket(found->ai_family, SOCK_STREAM, IPPROTO_SCTP);
  if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) ||
      write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
    fail("connect");
  return 0;
}

int main(int count, char **arguments) {
  if (count == 3 && !strcmp(arguments[1], "listen"))
    listen_on(atoi(arguments[2]));
  if (count == 4 && !strcmp(arguments[1], "connect"))
    return connect_to(arguments[2], arguments[3]);
  fputs("usage: sctp listen PORT | sctp connect ADDRESS PORT\n", stderr);
  return 2;
}
