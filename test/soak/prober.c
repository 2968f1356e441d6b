// SPDX-License-Identifier: Apache-2.0
// Probes between network namespaces from one process, which has the sockets of
// both ends: so it knows of each packet whether it arrived, without asking
// anybody.
//
// Commands come as lines on stdin, and events go as lines to stdout:
//
//   pod SLOT NETNS V4 V6
//       opens a pod's sockets in the namespace of that path
//   gone SLOT
//       closes them; its probes end
//   probe ID KIND FROM TO FAMILY PORT MICROSECONDS EXPECTED [ADDRESS]
//       ADDRESS is a Service's, in place of the pod's own
//   end ID
//       ends a probe
//   expect EXPECTED ID ...
//       what is expected from now on
//   renew ID ...
//       ends what it has open, and starts again from other ports
//   flood FROM TO PORT COUNT
//       so many datagrams from as many ports
//   sync TOKEN
//       answers "sync TOKEN" when everything before is done
//   settle TOKEN
//       answers "settle TOKEN" when each probe has sent after this and been
//       judged
//   opened TOKEN
//       answers "opened TOKEN ID:NUMBER:CONNECTED ...", of each transfer how
//       many connections it has tried, and whether the last one is open
//   counts TOKEN
//       answers "counts TOKEN SENT DELIVERED ANSWERED OPENED BYTES PROBES
//       LATE_MICROSECONDS"
//
//   wrong ID WHAT COUNT FIRST LAST
//       since the last such line, with times in microseconds of
//       CLOCK_MONOTONIC; WHAT is "passed", "lost", "unanswered", "broken" or
//       "stalled"
//
// Kinds: u (UDP from a fixed port, answered), f (UDP from a new port each
// time), p (ping), t (a new TCP connection each time), x (a TCP connection that
// transfers, echoed). Expected: 0 (nothing may pass), 1 (everything must), 2
// (either).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  PODS = 512,
  PROBES = 4096,
  RING = 256,
  PORTS = 2,
  CONNECTIONS = 8192,
  EVENTS = 1024,
  DRAINS = 3
};
/* What has not arrived by then is lost: far more than a busy machine needs,
 * since sender and receiver are one process. */
static const int64_t LOST_US = 1500 * 1000;
/* A connection attempt that has not succeeded by then is dropped by somebody:
 * TCP repeats a SYN after 1 s and 3 s. */
static const int64_t CONNECT_US = 5000 * 1000;
/* A transfer that nobody has answered for so long is stalled: TCP repeats after
 * at most some hundred milliseconds at first. */
static const int64_t STALLED_US = 8000 * 1000;
/* A transfer that may be dropped starts again after so long. */
static const int64_t RECONNECT_US = 1000 * 1000;
/* Data that was sent before it became forbidden may still be in a queue. */
static const int64_t GRACE_US = 20 * 1000;
static const int64_t FLUSH_US = 20 * 1000;
static const uint32_t MAGIC = 0x57454952;
static const int FIRST_PORT = 80;

enum wrong { PASSED, LOST, UNANSWERED, BROKEN, STALLED, WRONGS };
static const char *const NAMES[] = {"passed", "lost", "unanswered", "broken",
                                    "stalled"};

struct sent {
  int64_t at;
  uint32_t number;
  uint8_t expected, delivered, answered, open;
  /* The drain at which it was overdue; 0 before. */
  uint64_t overdue;
};

struct tally {
  uint32_t count;
  int64_t first, last;
};

struct probe {
  bool used;
  char kind;
  int from, to, family, port;
  int64_t every, due, begun;
  uint8_t expected;
  int64_t expected_at;
  uint32_t number;
  struct sent ring[RING];
  struct tally wrong[WRONGS];
  /* When it was first sent and judged after the last `settle`. */
  bool settled;
  /* Of TCP, and of UDP that is answered. */
  int fd;
  uint16_t renewals;
  bool connecting, connected;
  int64_t progress_at;
  uint64_t written, echoed;
  /* Where to, if not to the pod's own address: a Service's. */
  bool is_indirect;
  struct in6_addr frontend;
};

struct pod {
  bool used;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  int udp_server[2][PORTS], tcp_server[2][PORTS], fresh[2], ping[2], ns;
};

struct connection {
  int fd;
  int pod;
  uint32_t probe, generation;
  bool known;
  uint8_t head[8];
  int have;
  int64_t at;
};

struct message {
  uint32_t magic, probe, number, generation;
  uint8_t fresh;
};

static struct pod pods[PODS];
static struct probe probes[PROBES];
static uint32_t generations[PROBES];
static int probes_end;
static struct connection connections[CONNECTIONS];
static int poller, own_ns;
static uint64_t sent_total, delivered_total, answered_total, opened_total,
    bytes_total;
static int64_t late_worst;
/* How often everything that had arrived has been received. */
static uint64_t drains = 1;
static char settle_token[64];
static int64_t settle_at;
static bool settling;

enum what {
  STDIN,
  UDP_SERVER,
  UDP_CLIENT,
  FRESH_CLIENT,
  PING,
  TCP_SERVER,
  TCP_SERVED,
  TCP_CLIENT
};
#define TAG(what, number) (((uint64_t)(what) << 32) | (uint32_t)(number))

static int64_t now_us(void) {
  struct timespec at;

  clock_gettime(CLOCK_MONOTONIC, &at);
  return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static void die(const char *format, ...) {
  va_list arguments;

  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, ": %s\n", strerror(errno));
  exit(1);
}

static void watch(int fd, uint32_t events, uint64_t tag) {
  struct epoll_event event = {.events = events, .data.u64 = tag};

  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) &&
      epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event))
    die("epoll_ctl");
}

static int open_socket(int family, int type, int protocol) {
  int fd = socket(family == 4 ? AF_INET : AF_INET6,
                  type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  int one = 1;

  if (fd < 0)
    die("socket");
  if (family == 6 && type != SOCK_RAW)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
  if (type == SOCK_STREAM) {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  }
  return fd;
}

/* The address of a pod with a port. */
static socklen_t address_of(const struct pod *pod, int family, int port,
                            struct sockaddr_storage *out) {
  memset(out, 0, sizeof(*out));
  if (family == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;

    *v4 = pod->v4;
    v4->sin_port = htons(port);
    return sizeof(*v4);
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

  *v6 = pod->v6;
  v6->sin6_port = htons(port);
  return sizeof(*v6);
}

/* Where a probe's packets go. */
static socklen_t target_of(const struct probe *probe,
                           struct sockaddr_storage *out) {
  socklen_t length =
      address_of(&pods[probe->to], probe->family, probe->port, out);

  if (!probe->is_indirect)
    return length;
  if (probe->family == 4)
    memcpy(&((struct sockaddr_in *)out)->sin_addr, &probe->frontend,
           sizeof(struct in_addr));
  else
    ((struct sockaddr_in6 *)out)->sin6_addr = probe->frontend;
  return length;
}

static void enter(int ns) {
  if (setns(ns, CLONE_NEWNET))
    die("setns");
}

static int bound(int family, int type, const struct pod *pod, int port) {
  struct sockaddr_storage address;
  socklen_t length = address_of(pod, family, port, &address);
  int fd = open_socket(family, type, 0);

  if (bind(fd, (struct sockaddr *)&address, length))
    die("bind");
  if (type == SOCK_STREAM && listen(fd, 128))
    die("listen");
  return fd;
}

static void add_pod(int slot, const char *path, const char *v4,
                    const char *v6) {
  struct pod *pod = &pods[slot];
  int ns = open(path, O_RDONLY | O_CLOEXEC);

  if (slot < 0 || slot >= PODS || pod->used)
    die("slot %d", slot);
  if (ns < 0)
    die("open %s", path);
  *pod = (struct pod){.used = true,
                      .ns = ns,
                      .v4.sin_family = AF_INET,
                      .v6.sin6_family = AF_INET6};
  if (inet_pton(AF_INET, v4, &pod->v4.sin_addr) != 1 ||
      inet_pton(AF_INET6, v6, &pod->v6.sin6_addr) != 1)
    die("addresses %s %s", v4, v6);
  enter(ns);
  for (int six = 0; six < 2; six++) {
    int family = six ? 6 : 4;

    for (int port = 0; port < PORTS; port++) {
      pod->udp_server[six][port] =
          bound(family, SOCK_DGRAM, pod, FIRST_PORT + port);
      pod->tcp_server[six][port] =
          bound(family, SOCK_STREAM, pod, FIRST_PORT + port);
      watch(pod->udp_server[six][port], EPOLLIN,
            TAG(UDP_SERVER, slot * 8 + six * 4 + port));
      watch(pod->tcp_server[six][port], EPOLLIN,
            TAG(TCP_SERVER, slot * 8 + six * 4 + port));
    }
    pod->fresh[six] = open_socket(family, SOCK_DGRAM, 0);
    pod->ping[six] =
        open_socket(family, SOCK_RAW, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
    if (six) {
      struct icmp6_filter filter;

      ICMP6_FILTER_SETBLOCKALL(&filter);
      ICMP6_FILTER_SETPASS(ICMP6_ECHO_REQUEST, &filter);
      ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter);
      setsockopt(pod->ping[six], IPPROTO_ICMPV6, ICMP6_FILTER, &filter,
                 sizeof(filter));
    }
    watch(pod->ping[six], EPOLLIN, TAG(PING, slot * 8 + six * 4));
  }
  enter(own_ns);
}

static void shut(int fd) {
  struct linger linger = {.l_onoff = 1};

  /* Resets, so that nothing waits in the namespace. */
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
  close(fd);
}

static void end_connection(struct connection *connection) {
  if (connection->fd >= 0)
    shut(connection->fd);
  connection->fd = -1;
}

static void end_probe(int id) {
  struct probe *probe = &probes[id];

  if (probe->used && probe->fd >= 0)
    shut(probe->fd);
  probe->used = false;
  generations[id]++;
}

static void remove_pod(int slot) {
  struct pod *pod = &pods[slot];

  if (!pod->used)
    return;
  for (int id = 0; id < probes_end; id++)
    if (probes[id].used && (probes[id].from == slot || probes[id].to == slot))
      end_probe(id);
  for (int i = 0; i < CONNECTIONS; i++)
    if (connections[i].fd >= 0 && connections[i].pod == slot)
      end_connection(&connections[i]);
  for (int six = 0; six < 2; six++) {
    for (int port = 0; port < PORTS; port++) {
      close(pod->udp_server[six][port]);
      close(pod->tcp_server[six][port]);
    }
    close(pod->fresh[six]);
    close(pod->ping[six]);
  }
  close(pod->ns);
  pod->used = false;
}

static void note(int id, enum wrong what, int64_t at) {
  struct tally *tally = &probes[id].wrong[what];

  if (tally->count++ == 0)
    tally->first = at;
  tally->last = at;
}

static void flush_wrong(void) {
  for (int id = 0; id < probes_end; id++) {
    for (int what = 0; what < WRONGS; what++) {
      struct tally *tally = &probes[id].wrong[what];

      if (tally->count == 0)
        continue;
      printf("wrong %d %s %u %lld %lld\n", id, NAMES[what], tally->count,
             (long long)tally->first, (long long)tally->last);
      tally->count = 0;
    }
  }
}

/* Ends the wait for one packet. */
static void judge(int id, struct sent *sent) {
  if (!sent->open)
    return;
  sent->open = 0;
  if (sent->expected == 1 && !sent->delivered)
    note(id, LOST, sent->at);
  else if (sent->expected == 1 && !sent->answered)
    note(id, UNANSWERED, sent->at);
  if (settling && sent->at >= settle_at)
    probes[id].settled = true;
}

static struct sent *sent_of(const struct message *message) {
  struct probe *probe;
  struct sent *sent;

  if (message->magic != MAGIC || message->probe >= PROBES)
    return NULL;
  probe = &probes[message->probe];
  sent = &probe->ring[message->number % RING];
  return probe->used && generations[message->probe] == message->generation &&
                 sent->number == message->number
             ? sent
             : NULL;
}

static void delivered(const struct message *message) {
  struct sent *sent = sent_of(message);

  delivered_total++;
  if (sent == NULL || sent->delivered)
    return;
  sent->delivered = 1;
  if (sent->expected == 0)
    note(message->probe, PASSED, sent->at);
  if (sent->answered)
    judge(message->probe, sent);
}

static void answered(const struct message *message) {
  struct sent *sent = sent_of(message);

  if (sent == NULL)
    return;
  answered_total++;
  sent->answered = 1;
  if (sent->delivered)
    judge(message->probe, sent);
}

static void from_udp_server(int slot, int six, int port) {
  struct message message;
  struct sockaddr_storage peer;
  socklen_t length;
  int fd = pods[slot].udp_server[six][port];

  for (int i = 0; i < 256; i++) {
    length = sizeof(peer);
    if (recvfrom(fd, &message, sizeof(message), 0, (struct sockaddr *)&peer,
                 &length) != sizeof(message))
      return;
    delivered(&message);
    if (!message.fresh)
      sendto(fd, &message, sizeof(message), 0, (struct sockaddr *)&peer,
             length);
  }
}

static void from_udp_client(int id) {
  struct message message;

  for (int i = 0; i < 256 && probes[id].used; i++) {
    if (recv(probes[id].fd, &message, sizeof(message), 0) != sizeof(message))
      return;
    answered(&message);
  }
}

static void from_ping(int slot, int six) {
  uint8_t packet[512];

  for (int i = 0; i < 256; i++) {
    struct message message;
    ssize_t length = recv(pods[slot].ping[six], packet, sizeof(packet), 0);
    size_t head = six ? 0 : (size_t)(packet[0] & 15) * 4;
    int type;

    if (length < 0)
      return;
    if ((size_t)length < head + 8 + sizeof(message))
      continue;
    type = packet[head];
    memcpy(&message, packet + head + 8, sizeof(message));
    if (type == (six ? ICMP6_ECHO_REQUEST : ICMP_ECHO))
      delivered(&message);
    else if (type == (six ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY))
      answered(&message);
  }
}

static void accept_all(int slot, int six, int port) {
  for (;;) {
    int fd = accept4(pods[slot].tcp_server[six][port], NULL, NULL,
                     SOCK_NONBLOCK | SOCK_CLOEXEC);
    int i = 0;

    if (fd < 0)
      return;
    while (i < CONNECTIONS && connections[i].fd >= 0)
      i++;
    if (i == CONNECTIONS) {
      close(fd);
      continue;
    }
    connections[i] = (struct connection){.fd = fd, .pod = slot, .at = now_us()};
    watch(fd, EPOLLIN, TAG(TCP_SERVED, i));
  }
}

/* The first eight bytes name the probe; everything is echoed. */
static void from_served(struct connection *connection) {
  static uint8_t buffer[65536];
  ssize_t length;

  if (connection->fd < 0)
    return;
  length = recv(connection->fd, buffer, sizeof(buffer), 0);
  if (length < 0 && errno == EAGAIN)
    return;
  if (length <= 0) {
    end_connection(connection);
    return;
  }
  bytes_total += length;
  connection->at = now_us();
  for (ssize_t i = 0; i < length && connection->have < 8; i++)
    connection->head[connection->have++] = buffer[i];
  if (connection->have == 8 && !connection->known) {
    memcpy(&connection->probe, connection->head, 4);
    memcpy(&connection->generation, connection->head + 4, 4);
    connection->known = connection->probe < PROBES;
  }
  if (connection->known) {
    struct probe *probe = &probes[connection->probe];

    if (probe->used &&
        generations[connection->probe] == connection->generation &&
        probe->expected == 0 && connection->at > probe->expected_at + GRACE_US)
      note(connection->probe, PASSED, connection->at);
  }
  /* What does not fit is dropped: then the client sees less, and writes less.
   */
  if (send(connection->fd, buffer, length, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
    end_connection(connection);
}

/* Back to a socket that is not connected and has no port. */
static void disconnect(struct probe *probe) {
  struct sockaddr nowhere = {.sa_family = AF_UNSPEC};

  connect(probe->fd, &nowhere, sizeof(nowhere));
  probe->connecting = probe->connected = false;
}

static void start_connecting(int id, int64_t at) {
  struct probe *probe = &probes[id];
  struct sockaddr_storage address;
  socklen_t length = target_of(probe, &address);

  disconnect(probe);
  watch(probe->fd, EPOLLIN | EPOLLOUT, TAG(TCP_CLIENT, id));
  probe->connecting = true;
  probe->begun = probe->progress_at = at;
  probe->written = probe->echoed = 0;
  probe->number++;
  probe->ring[0] = (struct sent){.at = at,
                                 .number = probe->number,
                                 .expected = probe->expected,
                                 .open = 1};
  sent_total++;
  connect(probe->fd, (struct sockaddr *)&address, length);
}

static void write_some(int id, int64_t at) {
  static uint8_t buffer[1024];
  struct probe *probe = &probes[id];
  ssize_t length;

  if (probe->written == 0) {
    uint32_t number = id;

    memcpy(buffer, &number, 4);
    memcpy(buffer + 4, &generations[id], 4);
  }
  /* At most so much on the way that a stall shows soon. */
  if (probe->written - probe->echoed > 16 * sizeof(buffer))
    return;
  if (probe->written == probe->echoed)
    probe->progress_at = at;
  length = send(probe->fd, buffer, sizeof(buffer), MSG_NOSIGNAL);
  if (length > 0)
    probe->written += length;
}

static void from_tcp_client(int id, uint32_t events) {
  static uint8_t buffer[65536];
  struct probe *probe = &probes[id];
  int64_t at = now_us();
  int error = 0;
  socklen_t size = sizeof(error);

  if (!probe->used || probe->fd < 0)
    return;
  if (probe->connecting) {
    getsockopt(probe->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0 && (events & EPOLLHUP) == 0 && (events & EPOLLOUT)) {
      struct sent *sent = &probe->ring[0];

      probe->connecting = false;
      opened_total++;
      sent->delivered = sent->answered = 1;
      if (sent->expected == 0)
        note(id, PASSED, sent->at);
      judge(id, sent);
      if (probe->kind == 't') {
        disconnect(probe);
        epoll_ctl(poller, EPOLL_CTL_DEL, probe->fd, NULL);
      } else {
        probe->connected = true;
        probe->progress_at = at;
        watch(probe->fd, EPOLLIN, TAG(TCP_CLIENT, id));
      }
    } else if (error != 0 || (events & EPOLLHUP)) {
      /* Refused, or reset: no policy does that. */
      if (probe->ring[0].expected == 1)
        note(id, BROKEN, at);
      probe->ring[0].open = 0;
      disconnect(probe);
      epoll_ctl(poller, EPOLL_CTL_DEL, probe->fd, NULL);
    }
    return;
  }
  if (!probe->connected)
    return;
  for (;;) {
    ssize_t length = recv(probe->fd, buffer, sizeof(buffer), 0);

    if (length > 0) {
      probe->echoed += length;
      probe->progress_at = at;
      if (settling && at >= settle_at)
        probe->settled = true;
      continue;
    }
    if (length < 0 && errno == EAGAIN)
      return;
    if (probe->expected == 1)
      note(id, BROKEN, at);
    disconnect(probe);
    epoll_ctl(poller, EPOLL_CTL_DEL, probe->fd, NULL);
    return;
  }
}

static uint16_t checksum(const void *data, size_t length) {
  const uint8_t *bytes = data;
  uint32_t sum = 0;

  for (size_t i = 0; i + 1 < length; i += 2)
    sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
  if (length & 1)
    sum += (uint32_t)bytes[length - 1] << 8;
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return htons(~sum & 0xffff);
}

static void send_ping(struct probe *probe, int id,
                      const struct message *message) {
  struct sockaddr_storage address;
  struct pod *from = &pods[probe->from];
  socklen_t length = address_of(&pods[probe->to], probe->family, 0, &address);
  uint8_t packet[8 + sizeof(*message)] = {
      probe->family == 4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST};
  uint16_t identifier = htons(id + 1 + probe->renewals * PROBES),
           sequence = htons(message->number), sum;

  memcpy(packet + 4, &identifier, 2);
  memcpy(packet + 6, &sequence, 2);
  memcpy(packet + 8, message, sizeof(*message));
  /* The kernel computes that of ICMPv6. */
  sum = probe->family == 4 ? checksum(packet, sizeof(packet)) : 0;
  memcpy(packet + 2, &sum, 2);
  sendto(from->ping[probe->family == 6], packet, sizeof(packet), 0,
         (struct sockaddr *)&address, length);
}

static void send_datagram(struct probe *probe, const struct message *message) {
  struct sockaddr_storage address;
  struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
  struct pod *from = &pods[probe->from];
  int six = probe->family == 6;
  socklen_t length = target_of(probe, &address);
  int fd = message->fresh ? from->fresh[six] : probe->fd;

  /* A socket that is disconnected gives its port back, and gets another. */
  if (message->fresh)
    connect(fd, &nowhere, sizeof(nowhere));
  sendto(fd, message, sizeof(*message), 0, (struct sockaddr *)&address, length);
}

static void send_probe(int id, int64_t at) {
  struct probe *probe = &probes[id];
  struct message message;
  struct sent *sent;

  probe->number++;
  message = (struct message){.magic = MAGIC,
                             .probe = id,
                             .number = probe->number,
                             .generation = generations[id],
                             .fresh = probe->kind == 'f'};
  sent = &probe->ring[probe->number % RING];
  judge(id, sent);
  *sent = (struct sent){.at = at,
                        .number = probe->number,
                        .expected = probe->expected,
                        .answered = message.fresh,
                        .open = 1};
  sent_total++;
  if (probe->kind == 'p')
    send_ping(probe, id, &message);
  else
    send_datagram(probe, &message);
}

static void step_tcp(int id, int64_t at) {
  struct probe *probe = &probes[id];
  struct sent *sent = &probe->ring[0];

  if (probe->connecting) {
    int64_t patience =
        probe->expected == 1 && sent->expected == 1 ? CONNECT_US : RECONNECT_US;

    if (at - probe->begun < patience)
      return;
    judge(id, sent);
    disconnect(probe);
    epoll_ctl(poller, EPOLL_CTL_DEL, probe->fd, NULL);
    return;
  }
  if (!probe->connected) {
    start_connecting(id, at);
    return;
  }
  if (settling && probe->expected != 1)
    probe->settled = true;
  if (probe->written > probe->echoed) {
    int64_t waited =
        at - (probe->progress_at > probe->expected_at ? probe->progress_at
                                                      : probe->expected_at);

    if (probe->expected == 1 ? waited > STALLED_US : waited > RECONNECT_US) {
      if (probe->expected == 1)
        note(id, STALLED, probe->progress_at);
      disconnect(probe);
      epoll_ctl(poller, EPOLL_CTL_DEL, probe->fd, NULL);
      return;
    }
  }
  write_some(id, at);
}

static void flood(int from, int to, int port, int count) {
  struct message message = {.magic = MAGIC, .probe = PROBES, .fresh = 1};
  struct probe probe = {
      .from = from, .to = to, .family = 4, .port = port, .kind = 'f'};

  for (int i = 0; i < count; i++) {
    send_datagram(&probe, &message);
    if (i % 64 == 63)
      from_udp_server(to, 0, port - FIRST_PORT);
  }
}

static void settled_yet(void) {
  if (!settling)
    return;
  for (int id = 0; id < probes_end; id++)
    if (probes[id].used && !probes[id].settled)
      return;
  settling = false;
  flush_wrong();
  printf("settle %s\n", settle_token);
  fflush(stdout);
}

static bool is_tcp(const struct probe *probe) {
  return probe->kind == 't' || probe->kind == 'x';
}

/* The sending end of a probe that keeps one. */
static void open_client(int id) {
  struct probe *probe = &probes[id];

  if (!is_tcp(probe) && probe->kind != 'u')
    return;
  enter(pods[probe->from].ns);
  probe->fd =
      open_socket(probe->family, is_tcp(probe) ? SOCK_STREAM : SOCK_DGRAM, 0);
  enter(own_ns);
  if (!is_tcp(probe))
    watch(probe->fd, EPOLLIN, TAG(UDP_CLIENT, id));
}

static void renew(int id) {
  struct probe *probe = &probes[id];

  /* What is on the way is judged by nobody. */
  for (int i = 0; i < RING; i++)
    probe->ring[i].open = 0;
  generations[id]++;
  probe->renewals++;
  if (probe->fd >= 0)
    shut(probe->fd);
  probe->fd = -1;
  probe->connecting = probe->connected = false;
  open_client(id);
}

static void renew_all(char *arguments) {
  char *rest = arguments, *end;

  for (;;) {
    long id = strtol(rest, &end, 10);

    if (end == rest)
      return;
    rest = end;
    if (id >= 0 && id < PROBES && probes[id].used)
      renew(id);
  }
}

static void add_probe(const char *arguments) {
  struct probe made = {.used = true, .fd = -1};
  char frontend[64];
  int id, expected;
  long every;
  int count = sscanf(arguments, "%d %c %d %d %d %d %ld %d %63s", &id,
                     &made.kind, &made.from, &made.to, &made.family, &made.port,
                     &every, &expected, frontend);

  made.is_indirect = count == 9;
  if (count < 8 ||
      (made.is_indirect && inet_pton(made.family == 4 ? AF_INET : AF_INET6,
                                     frontend, &made.frontend) != 1) ||
      id < 0 || id >= PROBES || probes[id].used || !pods[made.from].used ||
      !pods[made.to].used) {
    errno = EINVAL;
    die("probe %s", arguments);
  }
  made.every = every;
  made.expected = expected;
  made.due = now_us() + random() % every;
  made.expected_at = now_us();
  generations[id]++;
  probes[id] = made;
  open_client(id);
  if (id >= probes_end)
    probes_end = id + 1;
}

static void expect(char *arguments) {
  char *rest = arguments;
  int expected = strtol(rest, &rest, 10);
  int64_t at = now_us();

  for (;;) {
    char *end;
    long id = strtol(rest, &end, 10);

    if (end == rest)
      return;
    rest = end;
    if (id < 0 || id >= PROBES || !probes[id].used)
      continue;
    if (probes[id].expected != expected)
      probes[id].expected_at = at;
    probes[id].expected = expected;
    /* A connection attempt goes on over the change: it is judged by neither. */
    if (probes[id].connecting)
      probes[id].ring[0].expected = 2;
  }
}

static void obey(char *line) {
  char path[256], v4[64], v6[64], token[64];
  int a, b, c, d;

  if (sscanf(line, "pod %d %255s %63s %63s", &a, path, v4, v6) == 4) {
    add_pod(a, path, v4, v6);
  } else if (sscanf(line, "gone %d", &a) == 1) {
    remove_pod(a);
  } else if (strncmp(line, "probe ", 6) == 0) {
    add_probe(line + 6);
  } else if (sscanf(line, "end %d", &a) == 1) {
    end_probe(a);
  } else if (strncmp(line, "expect ", 7) == 0) {
    expect(line + 7);
  } else if (strncmp(line, "renew ", 6) == 0) {
    renew_all(line + 6);
  } else if (sscanf(line, "flood %d %d %d %d", &a, &b, &c, &d) == 4) {
    flood(a, b, c, d);
  } else if (sscanf(line, "sync %63s", token) == 1) {
    flush_wrong();
    printf("sync %s\n", token);
  } else if (sscanf(line, "settle %63s", settle_token) == 1) {
    settling = true;
    settle_at = now_us();
    for (int id = 0; id < probes_end; id++)
      probes[id].settled = false;
  } else if (sscanf(line, "opened %63s", token) == 1) {
    printf("opened %s", token);
    for (int id = 0; id < probes_end; id++)
      if (probes[id].used && probes[id].kind == 'x')
        printf(" %d:%u:%d", id, probes[id].number, probes[id].connected);
    printf("\n");
  } else if (sscanf(line, "counts %63s", token) == 1) {
    int used = 0;

    for (int id = 0; id < probes_end; id++)
      used += probes[id].used;
    printf("counts %s %llu %llu %llu %llu %llu %d %lld\n", token,
           (unsigned long long)sent_total, (unsigned long long)delivered_total,
           (unsigned long long)answered_total, (unsigned long long)opened_total,
           (unsigned long long)bytes_total, used, (long long)late_worst);
    late_worst = 0;
  } else {
    errno = EINVAL;
    die("command %s", line);
  }
  fflush(stdout);
}

static void from_stdin(void) {
  static char text[1 << 20];
  static size_t have;
  ssize_t length = read(0, text + have, sizeof(text) - 1 - have);
  char *line = text, *end;

  if (length == 0 || (length < 0 && errno != EAGAIN))
    exit(0);
  if (length < 0)
    return;
  have += length;
  text[have] = 0;
  while ((end = strchr(line, '\n'))) {
    *end = 0;
    obey(line);
    line = end + 1;
  }
  have -= line - text;
  memmove(text, line, have);
}

static void receive(const struct epoll_event *event) {
  enum what what = event->data.u64 >> 32;
  uint32_t number = event->data.u64;
  int slot = number / 8, six = number / 4 % 2, port = number % 4;

  switch (what) {
  case STDIN:
    from_stdin();
    break;
  case UDP_SERVER:
    if (pods[slot].used)
      from_udp_server(slot, six, port);
    break;
  case UDP_CLIENT:
    from_udp_client(number);
    break;
  case PING:
    if (pods[slot].used)
      from_ping(slot, six);
    break;
  case TCP_SERVER:
    if (pods[slot].used)
      accept_all(slot, six, port);
    break;
  case TCP_SERVED:
    from_served(&connections[number]);
    break;
  case TCP_CLIENT:
    from_tcp_client(number, event->events);
    break;
  case FRESH_CLIENT:
    break;
  }
}

int main(void) {
  struct rlimit files = {.rlim_cur = 60000, .rlim_max = 60000};
  int64_t flushed = 0, swept = 0;

  setrlimit(RLIMIT_NOFILE, &files);
  own_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (own_ns < 0 || poller < 0)
    die("start");
  for (int i = 0; i < CONNECTIONS; i++)
    connections[i].fd = -1;
  fcntl(0, F_SETFL, fcntl(0, F_GETFL) | O_NONBLOCK);
  watch(0, EPOLLIN, TAG(STDIN, 0));
  for (;;) {
    struct epoll_event events[EVENTS];
    int64_t at = now_us(), next = at + FLUSH_US;
    int count;

    for (int id = 0; id < probes_end; id++) {
      struct probe *probe = &probes[id];

      if (!probe->used)
        continue;
      if (probe->due <= at) {
        if (at - probe->due > late_worst)
          late_worst = at - probe->due;
        /* What could not be sent in time is left out. */
        probe->due = probe->due + probe->every > at ? probe->due + probe->every
                                                    : at + probe->every;
        if (is_tcp(probe))
          step_tcp(id, at);
        else
          send_probe(id, at);
      }
      if (probe->due < next)
        next = probe->due;
    }
    count = epoll_wait(poller, events, EVENTS,
                       next > at ? (int)((next - at + 999) / 1000) : 0);
    for (int i = 0; i < count; i++)
      receive(&events[i]);
    drains += count < EVENTS;
    at = now_us();
    if (at - swept > FLUSH_US) {
      swept = at;
      for (int id = 0; id < probes_end; id++) {
        if (!probes[id].used || is_tcp(&probes[id]))
          continue;
        for (int i = 0; i < RING; i++) {
          struct sent *sent = &probes[id].ring[i];
          /* What may not pass is judged as soon as it should have arrived. */
          int64_t patience = sent->expected == 1 ? LOST_US : 100 * 1000;

          if (!sent->open || at - sent->at <= patience)
            continue;
          /* A process that has not run for long has not received what is
           * there, nor answered it. */
          if (sent->overdue == 0)
            sent->overdue = drains;
          else if (drains > sent->overdue + DRAINS)
            judge(id, sent);
        }
      }
      for (int i = 0; i < CONNECTIONS; i++)
        if (connections[i].fd >= 0 && at - connections[i].at > 20 * STALLED_US)
          end_connection(&connections[i]);
    }
    if (at - flushed > FLUSH_US) {
      flushed = at;
      flush_wrong();
      fflush(stdout);
    }
    settled_yet();
  }
}
