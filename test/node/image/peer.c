// The program of the tests' pods: servers that answer with their pod's name,
// and clients that report each attempt.
//
//   peer serve PROTO:PORT ...
//     Serves on every address. Answers over HTTP and UDP with the host's name.
//   peer reach [-t MS] TARGET ...
//     Connects to all at once. Prints for each "TARGET RESULT": the name that
//     answered, "refused" or "timeout".
//   peer beat [-i MS] [-t MS] TARGET ...
//     Connects to each target repeatedly. Prints for each attempt that has
//     ended "START_MS TARGET RESULT DURATION_MS RETRANSMITS".
//   peer stream [-i MS] [-t MS] TARGET
//     One connection, on which a byte is echoed every MS. Prints such a line
//     for each ("ok"), with the retransmits of the connection so far, and ends
//     with the connection.
//
// TARGET is PROTO:[ADDRESS]:PORT, PROTO tcp or udp, MS milliseconds.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TARGETS_MAX = 64, SOCKETS_MAX = 4096, ANSWER_MAX = 512 };

static void end(int signal) { _exit(signal == SIGTERM ? 0 : 1); }

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

static int64_t now_ms(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

struct target {
  const char *text;
  int type;
  struct sockaddr_storage address;
  socklen_t length;
};

static struct target target_of(char *text) {
  struct target target = {.text = text};
  char host[64];
  int port;
  char *address = strchr(text, '[');
  char *close = address == NULL ? NULL : strchr(address, ']');
  if (close == NULL || close - address - 1 >= (long)sizeof(host) ||
      sscanf(close, "]:%d", &port) != 1)
    die("%s: expected PROTO:[ADDRESS]:PORT", text);
  memcpy(host, address + 1, close - address - 1);
  host[close - address - 1] = 0;
  if (strncmp(text, "tcp:", 4) == 0)
    target.type = SOCK_STREAM;
  else if (strncmp(text, "udp:", 4) == 0)
    target.type = SOCK_DGRAM;
  else
    die("%s: expected tcp: or udp:", text);
  struct sockaddr_in *v4 = (void *)&target.address;
  struct sockaddr_in6 *v6 = (void *)&target.address;
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    target.length = sizeof(*v4);
  } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    target.length = sizeof(*v6);
  } else {
    die("%s: not an address", host);
  }
  return target;
}

// ---- clients

struct attempt {
  const struct target *target;
  int fd;
  bool sent;
  int64_t began;    // monotonic
  int64_t began_at; // of the epoch
  char answer[ANSWER_MAX];
  size_t length;
};

static const char QUESTION[] = "GET / HTTP/1.0\r\n\r\n";

// The last line of the answer, in the attempt's buffer, or why there is none.
static const char *ended(struct attempt *attempt, int error) {
  if (error == ECONNREFUSED)
    return "refused";
  if (error == ETIMEDOUT)
    return "timeout";
  if (error != 0)
    return strerror(error);
  if (attempt->length == 0)
    return "closed";
  attempt->answer[attempt->length] = 0;
  while (attempt->length > 0 &&
         strchr("\r\n", attempt->answer[attempt->length - 1]) != NULL)
    attempt->answer[--attempt->length] = 0;
  char *line = strrchr(attempt->answer, '\n');
  return line == NULL ? attempt->answer : line + 1;
}

// How many segments the kernel has sent again: 0 unless one was lost, or an
// answer took most of a second.
static unsigned retransmits_of(int fd) {
  struct tcp_info info = {0};
  socklen_t size = sizeof(info);
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0
             ? info.tcpi_total_retrans
             : 0;
}

static void print_attempt(const struct target *target, int64_t began_at,
                          const char *result, int64_t duration,
                          unsigned retransmits) {
  printf("%lld %s %s %lld %u\n", (long long)began_at, target->text, result,
         (long long)duration, retransmits);
}

static void report(struct attempt *attempt, int error, bool timed) {
  int64_t duration = now_ms(CLOCK_MONOTONIC) - attempt->began;
  const char *result = ended(attempt, error);
  if (timed)
    print_attempt(attempt->target, attempt->began_at, result, duration,
                  retransmits_of(attempt->fd));
  else
    printf("%s %s\n", attempt->target->text, result);
  if (attempt->fd >= 0)
    close(attempt->fd);
}

// Starts one. Returns 0, or the errno with which it has failed at once.
static int start(struct attempt *attempt, const struct target *target) {
  memset(attempt, 0, sizeof(*attempt));
  attempt->target = target;
  attempt->began = now_ms(CLOCK_MONOTONIC);
  attempt->began_at = now_ms(CLOCK_REALTIME);
  attempt->fd = socket(target->address.ss_family,
                       target->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (attempt->fd < 0)
    return errno;
  if (connect(attempt->fd, (const void *)&target->address, target->length) ==
          0 ||
      errno == EINPROGRESS)
    return 0;
  return errno;
}

// Goes on with one whose socket is ready. Returns -1 while it lasts, else 0 or
// an errno.
static int go_on(struct attempt *attempt) {
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0)
    return error;
  if (!attempt->sent) {
    if (send(attempt->fd, QUESTION, sizeof(QUESTION) - 1, MSG_NOSIGNAL) < 0)
      return errno == EAGAIN ? -1 : errno;
    attempt->sent = true;
    return -1;
  }
  ssize_t got = recv(attempt->fd, attempt->answer + attempt->length,
                     ANSWER_MAX - 1 - attempt->length, 0);
  if (got < 0)
    return errno == EAGAIN ? -1 : errno;
  attempt->length += got;
  return got == 0 || attempt->target->type == SOCK_DGRAM ||
                 attempt->length == ANSWER_MAX - 1
             ? 0
             : -1;
}

// Connects to every target once (interval 0), or repeatedly.
static int ask(struct target *targets, int count, int64_t interval,
               int64_t timeout) {
  static struct attempt attempts[SOCKETS_MAX];
  static struct pollfd polls[SOCKETS_MAX];
  int open = 0;
  int64_t next = now_ms(CLOCK_MONOTONIC);
  bool more = true;
  while (more || open > 0) {
    int64_t now = now_ms(CLOCK_MONOTONIC);
    if (more && now >= next) {
      for (int each = 0; each < count && open < SOCKETS_MAX; each++) {
        struct attempt *attempt = &attempts[open++];
        int error = start(attempt, &targets[each]);
        // A refusal at once is reported like a later one.
        if (error != 0) {
          report(attempt, error, interval != 0);
          open--;
        }
      }
      next = interval
                 ? (next + interval > now ? next + interval : now + interval)
                 : 0;
      more = interval != 0;
    }
    int64_t wake = more ? next : now + timeout;
    for (int each = 0; each < open; each++) {
      polls[each] =
          (struct pollfd){.fd = attempts[each].fd,
                          .events = attempts[each].sent ? POLLIN : POLLOUT};
      if (attempts[each].began + timeout < wake)
        wake = attempts[each].began + timeout;
    }
    now = now_ms(CLOCK_MONOTONIC);
    poll(polls, open, wake > now ? wake - now : 0);
    now = now_ms(CLOCK_MONOTONIC);
    int kept = 0;
    for (int each = 0; each < open; each++) {
      struct attempt *attempt = &attempts[each];
      int result = polls[each].revents ? go_on(attempt) : -1;
      if (result < 0 && now >= attempt->began + timeout)
        result = ETIMEDOUT;
      if (result < 0) {
        if (kept != each)
          attempts[kept] = *attempt;
        kept++;
        continue;
      }
      report(attempt, result, interval != 0);
    }
    open = kept;
    fflush(stdout);
  }
  return 0;
}

static int stream(const struct target *target, int64_t interval,
                  int64_t timeout) {
  int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  if (connect(fd, (const void *)&target->address, target->length) != 0)
    die("%s: %s", target->text, strerror(errno));
  static const char start_echo[] = "ECHO\r\n\r\n";
  send(fd, start_echo, sizeof(start_echo) - 1, MSG_NOSIGNAL);
  for (;;) {
    int64_t began = now_ms(CLOCK_MONOTONIC), began_at = now_ms(CLOCK_REALTIME);
    unsigned retransmits = retransmits_of(fd);
    char byte = 'x';
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
      die("%s: %s", target->text, strerror(errno));
    struct pollfd waits = {.fd = fd, .events = POLLIN};
    int ready = poll(&waits, 1, timeout);
    const char *result = ready == 0                   ? "timeout"
                         : recv(fd, &byte, 1, 0) == 1 ? "ok"
                                                      : "closed";
    print_attempt(target, began_at, result, now_ms(CLOCK_MONOTONIC) - began,
                  retransmits_of(fd) - retransmits);
    if (strcmp(result, "ok") != 0)
      return 1;
    fflush(stdout);
    int64_t left = began + interval - now_ms(CLOCK_MONOTONIC);
    if (left > 0)
      usleep(left * 1000);
  }
}

// ---- servers

static char name[64];

// One connection, in a process of its own. After "ECHO" every later byte is
// given back; anything else is HTTP.
static void serve_connection(int fd) {
  char text[1024];
  size_t length = 0;
  for (;;) {
    ssize_t got = recv(fd, text + length, sizeof(text) - 1 - length, 0);
    if (got <= 0)
      return;
    length += got;
    text[length] = 0;
    char *rest = strstr(text, "\r\n\r\n");
    if (rest == NULL) {
      if (length == sizeof(text) - 1)
        return;
      continue;
    }
    if (strncmp(text, "ECHO", 4) != 0)
      break;
    rest += 4;
    ssize_t more = text + length - rest;
    do {
      if (send(fd, rest, more, MSG_NOSIGNAL) != more)
        return;
      rest = text;
      more = recv(fd, text, sizeof(text), 0);
    } while (more > 0);
    return;
  }
  char answer[160];
  int size = snprintf(answer, sizeof(answer),
                      "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s\n",
                      strlen(name) + 1, name);
  send(fd, answer, size, MSG_NOSIGNAL);
}

static void reap(int signal) {
  (void)signal;
  int kept = errno;
  while (waitpid(-1, NULL, WNOHANG) > 0)
    ;
  errno = kept;
}

static int listen_at(const char *text, int *type) {
  int port;
  *type = strncmp(text, "udp:", 4) == 0 ? SOCK_DGRAM : SOCK_STREAM;
  if ((strncmp(text, "tcp:", 4) != 0 && *type != SOCK_DGRAM) ||
      sscanf(text + 4, "%d", &port) != 1)
    die("%s: expected tcp:PORT or udp:PORT", text);
  int fd = socket(AF_INET6, *type | SOCK_CLOEXEC, 0), one = 1, zero = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
  struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                 .sin6_port = htons(port)};
  if (bind(fd, (void *)&address, sizeof(address)) != 0)
    die("bind %s: %s", text, strerror(errno));
  if (*type == SOCK_STREAM && listen(fd, 1024) != 0)
    die("listen %s: %s", text, strerror(errno));
  return fd;
}

static int serve(int count, char **places) {
  struct pollfd polls[TARGETS_MAX];
  int types[TARGETS_MAX];
  if (count > TARGETS_MAX)
    die("at most %d ports", TARGETS_MAX);
  signal(SIGCHLD, reap);
  gethostname(name, sizeof(name) - 1);
  for (int each = 0; each < count; each++)
    polls[each] = (struct pollfd){.fd = listen_at(places[each], &types[each]),
                                  .events = POLLIN};
  for (;;) {
    if (poll(polls, count, -1) < 0)
      continue;
    for (int each = 0; each < count; each++) {
      if (!(polls[each].revents & POLLIN))
        continue;
      if (types[each] == SOCK_DGRAM) {
        char text[1024];
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        if (recvfrom(polls[each].fd, text, sizeof(text), 0, (void *)&from,
                     &size) >= 0) {
          snprintf(text, sizeof(text), "%s\n", name);
          sendto(polls[each].fd, text, strlen(text), 0, (void *)&from, size);
        }
        continue;
      }
      int fd = accept(polls[each].fd, NULL, NULL);
      if (fd < 0)
        continue;
      pid_t child = fork();
      if (child == 0) {
        serve_connection(fd);
        _exit(0);
      }
      close(fd);
    }
  }
}

int main(int count, char **arguments) {
  signal(SIGTERM, end);
  signal(SIGINT, end);
  signal(SIGPIPE, SIG_IGN);
  if (count < 3)
    die("usage: see the head of peer.c");
  const char *command = arguments[1];
  if (strcmp(command, "serve") == 0)
    return serve(count - 2, arguments + 2);
  int64_t interval = 20, timeout = 1500;
  optind = 2;
  for (int option; (option = getopt(count, arguments, "i:t:")) != -1;) {
    if (option == 'i')
      interval = atoi(optarg);
    if (option == 't')
      timeout = atoi(optarg);
  }
  static struct target targets[TARGETS_MAX];
  int targets_count = 0;
  for (int each = optind; each < count && targets_count < TARGETS_MAX; each++)
    targets[targets_count++] = target_of(arguments[each]);
  if (targets_count == 0)
    die("no target");
  if (strcmp(command, "reach") == 0)
    return ask(targets, targets_count, 0, timeout);
  if (strcmp(command, "beat") == 0)
    return ask(targets, targets_count, interval, timeout);
  if (strcmp(command, "stream") == 0)
    return stream(&targets[0], interval, timeout);
  die("%s: no such command", command);
}
