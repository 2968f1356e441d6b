// SPDX-License-Identifier: Apache-2.0
// Sends one IPv4 packet that no socket would send:
// `raw tcp SOURCE PORT DESTINATION PORT FLAGS` a segment with these flags (a
// number); `raw error DESTINATION SOURCE PORT PEER PORT` an ICMP error to
// DESTINATION (port unreachable), which quotes a segment of SOURCE to PEER.
#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static uint16_t checksum(const void *data, size_t length, uint32_t sum) {
  const uint16_t *words = data;

  for (; length > 1; length -= 2)
    sum += *words++;
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

static size_t segment(char *at, char **ends, int flags) {
  struct iphdr *ip = (void *)at;
  struct tcphdr *tcp = (void *)(ip + 1);
  struct {
    uint32_t source, destination;
    uint16_t protocol, length;
  } pseudo;

  *ip = (struct iphdr){.version = 4,
                       .ihl = 5,
                       .ttl = 64,
                       .protocol = IPPROTO_TCP,
                       .tot_len = htons(sizeof(*ip) + sizeof(*tcp))};
  inet_pton(AF_INET, ends[0], &ip->saddr);
  inet_pton(AF_INET, ends[2], &ip->daddr);
  ip->check = checksum(ip, sizeof(*ip), 0);
  memset(tcp, 0, sizeof(*tcp));
  tcp->source = htons(atoi(ends[1]));
  tcp->dest = htons(atoi(ends[3]));
  tcp->doff = 5;
  tcp->window = htons(1000);
  ((unsigned char *)tcp)[13] = flags;
  pseudo.source = ip->saddr;
  pseudo.destination = ip->daddr;
  pseudo.protocol = htons(IPPROTO_TCP);
  pseudo.length = htons(sizeof(*tcp));
  tcp->check = checksum(tcp, sizeof(*tcp),
                        (uint16_t)~checksum(&pseudo, sizeof(pseudo), 0));
  return sizeof(*ip) + sizeof(*tcp);
}

int main(int count, char **words) {
  int is_error = count == 7 && !strcmp(words[1], "error");
  int raw = socket(AF_INET, SOCK_RAW, is_error ? IPPROTO_ICMP : IPPROTO_RAW);
  struct sockaddr_in to = {.sin_family = AF_INET};
  char packet[256] = {0};
  size_t length;

  if (is_error) {
    struct icmphdr *icmp = (void *)packet;

    inet_pton(AF_INET, words[2], &to.sin_addr);
    length = sizeof(*icmp) + segment(packet + sizeof(*icmp), words + 3, TH_ACK);
    icmp->type = ICMP_DEST_UNREACH;
    icmp->code = ICMP_PORT_UNREACH;
    icmp->checksum = checksum(packet, length, 0);
  } else if (count == 7 && !strcmp(words[1], "tcp")) {
    inet_pton(AF_INET, words[4], &to.sin_addr);
    length = segment(packet, words + 2, atoi(words[6]));
  } else {
    fprintf(stderr, "usage: see the source\n");
    return 2;
  }
  if (raw < 0 || sendto(raw, packet, length, 0, (void *)&to, sizeof(to)) < 0) {
    perror("raw");
    return 1;
  }
  return 0;
}
