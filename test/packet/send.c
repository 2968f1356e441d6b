// SPDX-License-Identifier: Apache-2.0
// Sends frames out of an interface, each with only its first bytes in the
// linear part of the kernel's buffer: `send IFINDEX LINEAR LENGTH...`, the
// frames one after another on standard input. The kernel keeps frames shorter
// than a page in one part. LENGTH:START:OFFSET asks the device to write a
// checksum of what begins at START, OFFSET bytes behind that.
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_MAX 16384

static int fail(const char *what) {
  perror(what);
  return 1;
}

/* The header of every frame: how much of it is to be linear, and its checksum.
 */
static int send_frame(int fd, int linear, const char *frame) {
  char buffer[sizeof(struct virtio_net_hdr) + FRAME_MAX];
  struct virtio_net_hdr head = {.hdr_len = linear};
  size_t length;
  unsigned int start, offset;

  if (sscanf(frame, "%zu:%u:%u", &length, &start, &offset) == 3) {
    head.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    head.csum_start = start;
    head.csum_offset = offset;
  }
  memcpy(buffer, &head, sizeof(head));
  if (length > FRAME_MAX ||
      fread(buffer + sizeof(head), 1, length, stdin) != length)
    return fail("read");
  if (send(fd, buffer, sizeof(head) + length, 0) !=
      (ssize_t)(sizeof(head) + length))
    return fail("send");
  return 0;
}

int main(int count, char **arguments) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET};
  int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

  if (fd < 0 || count < 3 ||
      setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)))
    return fail("socket");
  to.sll_ifindex = atoi(arguments[1]);
  if (bind(fd, (struct sockaddr *)&to, sizeof(to)))
    return fail("bind");
  for (int i = 3; i < count; i++)
    if (send_frame(fd, atoi(arguments[2]), arguments[i]))
      return 1;
  return 0;
}
