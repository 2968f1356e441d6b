// SPDX-License-Identifier: Apache-2.0
// Creates a TCP entry in the kernel's conntrack, as `conntrack -I` would that
// sets BE_LIBERAL on all of them:
// `entry SOURCE PORT DESTINATION PORT STATE STATUS FLAGS ZONE ORIGINAL_ZONE`.
#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
  struct nlmsghdr header;
  struct nfgenmsg about;
  char attributes[1024];
} message;

static char *end = message.attributes;

static struct nlattr *put(int type, const void *data, size_t length) {
  struct nlattr *attribute = (void *)end;

  attribute->nla_type = type;
  attribute->nla_len = NLA_HDRLEN + length;
  if (length > 0)
    memcpy(end + NLA_HDRLEN, data, length);
  end += NLA_HDRLEN + NLA_ALIGN(length);
  return attribute;
}

static struct nlattr *open_nest(int type) {
  return put(type | NLA_F_NESTED, NULL, 0);
}

static void close_nest(struct nlattr *nest) {
  nest->nla_len = end - (char *)nest;
}

static void put_u8(int type, uint8_t value) { put(type, &value, 1); }
static void put_be16(int type, uint16_t value) {
  value = htons(value);
  put(type, &value, 2);
}
static void put_be32(int type, uint32_t value) {
  value = htonl(value);
  put(type, &value, 4);
}

struct end {
  unsigned char address[16];
  uint16_t port;
};

static struct nlattr *open_tuple(int type, int family, const struct end *from,
                                 const struct end *to) {
  int v6 = family == AF_INET6;
  struct nlattr *tuple = open_nest(type);
  struct nlattr *ip = open_nest(CTA_TUPLE_IP), *proto;

  put(v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, from->address, v6 ? 16 : 4);
  put(v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, to->address, v6 ? 16 : 4);
  close_nest(ip);
  proto = open_nest(CTA_TUPLE_PROTO);
  put_u8(CTA_PROTO_NUM, IPPROTO_TCP);
  put_be16(CTA_PROTO_SRC_PORT, from->port);
  put_be16(CTA_PROTO_DST_PORT, to->port);
  close_nest(proto);
  return tuple;
}

static int fail(const char *what) {
  perror(what);
  return 1;
}

int main(int argc, char **argv) {
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
    char rest[2048];
  } answer;
  struct nf_ct_tcp_flags flags = {.mask = 0xff};
  struct nlattr *nest, *inner;
  struct end source, destination;
  int family, fd;

  if (argc != 10)
    return fail("entry: nine arguments");
  family = strchr(argv[1], ':') ? AF_INET6 : AF_INET;
  if (inet_pton(family, argv[1], source.address) != 1 ||
      inet_pton(family, argv[3], destination.address) != 1)
    return fail("entry: address");
  source.port = atoi(argv[2]);
  destination.port = atoi(argv[4]);
  flags.flags = strtoul(argv[7], NULL, 0);
  nest = open_tuple(CTA_TUPLE_ORIG, family, &source, &destination);
  if (atoi(argv[9]) > 0)
    put_be16(CTA_TUPLE_ZONE, atoi(argv[9]));
  close_nest(nest);
  close_nest(open_tuple(CTA_TUPLE_REPLY, family, &destination, &source));
  put_be32(CTA_STATUS, strtoul(argv[6], NULL, 0));
  put_be32(CTA_TIMEOUT, 300);
  if (atoi(argv[8]) > 0)
    put_be16(CTA_ZONE, atoi(argv[8]));
  nest = open_nest(CTA_PROTOINFO);
  inner = open_nest(CTA_PROTOINFO_TCP);
  put_u8(CTA_PROTOINFO_TCP_STATE, atoi(argv[5]));
  put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &flags, sizeof(flags));
  put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &flags, sizeof(flags));
  close_nest(inner);
  close_nest(nest);
  message.about.nfgen_family = family;
  message.header = (struct nlmsghdr){
      .nlmsg_len = end - (char *)&message,
      .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW,
      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
  };
  fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
  if (fd < 0 || send(fd, &message, message.header.nlmsg_len, 0) < 0)
    return fail("entry: send");
  if (recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer.error) ||
      answer.error.error != 0) {
    fprintf(stderr, "entry: %s\n", strerror(-answer.error.error));
    return 1;
  }
  return 0;
}
