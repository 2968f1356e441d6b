// SPDX-License-Identifier: Apache-2.0
// Preloaded into the agent under test (LD_PRELOAD): lets bpf(2) or a call of
// netlink fail, or the process die, at a chosen call, hides tcx, and shifts the
// wall clock. The file that
// WEIR_SOAK_CONTROL names is shared with the test (kernel-faults.ts). Without
// it nothing changes. No build of Weir contains or loads this.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum mode { NOTHING, FAIL_WRITES, FAIL_ALL, KILL_AT_WRITE, FAIL_NETLINK };

/* Of <linux/bpf.h> since Linux 6.6. */
enum { TCX_INGRESS = 46, TCX_EGRESS = 47 };

/* Little-endian words, as kernel-faults.ts writes them. */
struct control {
  /* Counted here. */
  uint64_t calls, writes, fired;
  uint64_t mode;
  /* So many calls of the chosen kind pass first; then so many fail. */
  int64_t skip, times;
  int64_t error;
  int64_t clock_us;
  uint64_t without_tcx;
};

static volatile struct control *control;
static long (*real_syscall)(long, ...);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_gettimeofday)(struct timeval *, void *);
static int (*real_socket)(int, int, int);
static ssize_t (*real_send)(int, const void *, size_t, int);
static ssize_t (*real_recv)(int, void *, size_t, int);
static ssize_t (*real_recvmsg)(int, struct msghdr *, int);
static int (*real_setns)(int, int);

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("WEIR_SOAK_CONTROL");
  int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);

  real_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  real_clock_gettime =
      (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  real_gettimeofday =
      (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  real_socket = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  real_send =
      (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
  real_recv = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
  real_recvmsg =
      (ssize_t(*)(int, struct msghdr *, int))dlsym(RTLD_NEXT, "recvmsg");
  real_setns = (int (*)(int, int))dlsym(RTLD_NEXT, "setns");
  if (fd < 0)
    return;
  void *shared = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);

  if (shared != MAP_FAILED)
    control = shared;
  close(fd);
}

static bool is_write(long command) {
  switch (command) {
  case BPF_MAP_CREATE:
  case BPF_MAP_UPDATE_ELEM:
  case BPF_MAP_DELETE_ELEM:
  case BPF_PROG_LOAD:
  case BPF_OBJ_PIN:
  case BPF_PROG_ATTACH:
  case BPF_PROG_DETACH:
  /* The flip to the next generation. */
  case BPF_PROG_TEST_RUN:
  case BPF_BTF_LOAD:
  case BPF_MAP_FREEZE:
  case BPF_MAP_UPDATE_BATCH:
  case BPF_MAP_DELETE_BATCH:
  case BPF_LINK_CREATE:
  case BPF_LINK_UPDATE:
  case BPF_LINK_DETACH:
    return true;
  default:
    return false;
  }
}

/* Whether a call of the chosen kind is to fail; does not return if the process
 * is to die of it. */
static bool is_hit(void) {
  if (__atomic_fetch_sub(&control->skip, 1, __ATOMIC_RELAXED) > 0)
    return false;
  if (__atomic_fetch_sub(&control->times, 1, __ATOMIC_RELAXED) <= 0) {
    control->mode = NOTHING;
    return false;
  }
  __atomic_add_fetch(&control->fired, 1, __ATOMIC_RELAXED);
  if (control->mode == KILL_AT_WRITE) {
    control->mode = NOTHING;
    kill(getpid(), SIGKILL);
    pause();
  }
  errno = control->error;
  return true;
}

static bool bpf_fails(long command, const union bpf_attr *attr) {
  bool write = is_write(command);

  __atomic_add_fetch(&control->calls, 1, __ATOMIC_RELAXED);
  if (write)
    __atomic_add_fetch(&control->writes, 1, __ATOMIC_RELAXED);
  uint32_t type = command == BPF_PROG_QUERY    ? attr->query.attach_type
                  : command == BPF_LINK_CREATE ? attr->link_create.attach_type
                                               : 0;
  if (control->without_tcx && (type == TCX_INGRESS || type == TCX_EGRESS)) {
    errno = EINVAL;
    return true;
  }
  switch (control->mode) {
  case FAIL_ALL:
    return is_hit();
  case FAIL_WRITES:
  case KILL_AT_WRITE:
    return write && is_hit();
  default:
    return false;
  }
}

static bool netlink_fails(void) {
  return control != NULL && control->mode == FAIL_NETLINK && is_hit();
}

static bool is_netlink(int fd) {
  int domain = 0;
  socklen_t size = sizeof(domain);

  return control != NULL && control->mode == FAIL_NETLINK &&
         getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
         domain == AF_NETLINK;
}

int socket(int domain, int type, int protocol) {
  if (domain == AF_NETLINK && netlink_fails())
    return -1;
  return real_socket(domain, type, protocol);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags) {
  if (is_netlink(fd) && netlink_fails())
    return -1;
  return real_send(fd, bytes, size, flags);
}

ssize_t recv(int fd, void *bytes, size_t size, int flags) {
  if (is_netlink(fd) && netlink_fails())
    return -1;
  return real_recv(fd, bytes, size, flags);
}

/* Without a message there is no error but that there is none. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  ssize_t got = real_recvmsg(fd, message, flags);

  return got >= 0 && is_netlink(fd) && netlink_fails() ? -1 : got;
}

int setns(int fd, int type) {
  if (netlink_fails())
    return -1;
  return real_setns(fd, type);
}

long syscall(long number, ...) {
  va_list arguments;
  long a[6];

  va_start(arguments, number);
  for (int i = 0; i < 6; i++)
    a[i] = va_arg(arguments, long);
  va_end(arguments);
  if (number == SYS_bpf && control != NULL &&
      bpf_fails(a[0], (const union bpf_attr *)a[1]))
    return -1;
  return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = real_clock_gettime(clock, time);

  if (result == 0 && control != NULL &&
      (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    time->tv_sec += control->clock_us / 1000000;
  return result;
}

int gettimeofday(struct timeval *time, void *zone) {
  int result = real_gettimeofday(time, zone);

  if (result == 0 && control != NULL)
    time->tv_sec += control->clock_us / 1000000;
  return result;
}
