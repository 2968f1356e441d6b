// SPDX-License-Identifier: Apache-2.0
// Sends frames into a link's receive path by test runs of a pinned XDP program
// with live frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18), and tells the
// nanoseconds that it took.
//   live PROGRAM IFINDEX FRAMES FRAME, which is bytes in hexadecimal
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAME_MAX 2048
#define BATCH 64

static long long now(void) {
  struct timespec time;

  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int read_frame(const char *text, unsigned char *frame) {
  int size = 0;

  while (size < FRAME_MAX &&
         sscanf(text + 2 * size, "%2hhx", frame + size) == 1)
    size++;
  return size;
}

int main(int count, char **arguments) {
  unsigned char frame[FRAME_MAX];
  struct xdp_md context = {};
  long long start;
  int program, error;

  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .ctx_in = &context,
              .ctx_size_in = sizeof(context),
              .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
  if (count != 5) {
    fputs("usage: live PROGRAM IFINDEX FRAMES FRAME\n", stderr);
    return 2;
  }
  program = bpf_obj_get(arguments[1]);
  if (program < 0) {
    perror(arguments[1]);
    return 1;
  }
  options.data_size_in = read_frame(arguments[4], frame);
  options.repeat = atoi(arguments[3]);
  context.data_end = options.data_size_in;
  context.ingress_ifindex = atoi(arguments[2]);
  start = now();
  error = bpf_prog_test_run_opts(program, &options);
  if (error) {
    fprintf(stderr, "test run: %s\n", strerror(-error));
    return 1;
  }
  printf("%lld\n", now() - start);
  return 0;
}
