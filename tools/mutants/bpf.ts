// Mutants of the BPF programs: each breaks one branch in the life of a packet. Every one still builds and loads.

import type { Mutant } from "./list.ts";

const inFile =
  (file: string) =>
  (rule: string, from: string, to: string): Mutant => ({ rule, file: `bpf/${file}`, from, to });

const parse = inFile("parse.h");
const plain = inFile("fast_path.h");
const transport = inFile("transport.h");
const source = inFile("anti_spoofing.h");
const neighbour = inFile("link_local.h");
const conntrack = inFile("conntrack.h");
const table = inFile("flow_table.h");
const decide = inFile("packet_verdict.h");
const midstream = inFile("midstream.h");
const stateless = inFile("stateless.h");
const cache = inFile("percpu_cache.h");
const policy = inFile("policy.h");
const verdict = inFile("datapath.h");
const dns = inFile("dns.h");

const PARSING: readonly Mutant[] = [
  parse("an IPv4 header is as long as it says", "length < sizeof(*header) ||", ""),
  parse("an IPv4 packet holds its header", " || bpf_ntohs(header->tot_len) < length)", ")"),
  parse("jumbograms are malformed", "header->payload_len == 0 && header->nexthdr != IPPROTO_NONE", "false"),
  parse(
    "extension headers end inside the packet",
    "length > payload || offset",
    "length > payload + 8 || offset",
  ),
  parse(
    "a second fragment header is malformed",
    "if (fragment)\n\t\t\t\treturn",
    "if (fragment && length > 1024)\n\t\t\t\treturn",
  ),
  parse("an atomic fragment has a header", "fragment = PACKED_HEADER;", "fragment = 0;"),
  parse(
    "the authentication header counts in words of four",
    "protocol == IPPROTO_AH ? (header->length + 2) * 4 : ",
    "",
  ),
  parse(
    "segments left lead elsewhere",
    "protocol == IPPROTO_ROUTING && header->offset & bpf_htons(SEGMENTS_LEFT)",
    "false",
  ),
  parse("a source route leads elsewhere", "option[0] == OPTION_LSRR || ", ""),
  parse("an option is inside the header", "|| i + option[1] > length)", ")"),
  parse("two VLAN tags are read", "for (int i = 0; i < 2; i++) {", "for (int i = 0; i < 1; i++) {"),
  parse(
    "ARP is that of IPv4 over Ethernet",
    "header->hardware_length != 6 || header->protocol_length != 4",
    "false",
  ),
  parse("ARP is that of Ethernet alone", "header->hardware != bpf_htons(1) || ", ""),
  parse(
    "ARP asks or answers",
    "header->operation != bpf_htons(ARP_REQUEST) && header->operation != bpf_htons(ARP_REPLY)",
    "false",
  ),
  parse("an ARP probe has no address", "if (sender)\n\t\t", ""),
  parse("more tags hide the addresses", "packet->family = FAMILY_HIDDEN;", "packet->family = FAMILY_NONE;"),
  plain("fragments are not plain", " || ip->frag_off & bpf_htons(FRAGMENT_OFFSET | FRAGMENT_MORE))", ")"),
  plain("a TCP header has five words", "if (header->tcp_words >> 4 < 5)\n\t\t\treturn false;", ""),
  plain("a plain TCP header is within its packet", "length < before + sizeof(*header) || ", ""),
  plain("a plain UDP header is within its packet", " || length < before + UDP_HEADER_BYTES ||", " ||"),
  plain("options are not plain", "*(const __u8 *)ip != 0x45", "(*(const __u8 *)ip & 0xf0) != 0x40"),
  transport("TCP needs its whole header", "if (!ensure_payload(cursor, packet, 20))\n\t\treturn false;", ""),
  transport(
    "no fragment overwrites TCP's flags",
    "(packet->fragment & FRAGMENT_OFFSET) != 1 || ",
    "true || ",
  ),
  transport("SCTP has twelve bytes", "packet->protocol == IPPROTO_SCTP && !packet->quoted ? 12 : 8", "8"),
  transport(
    "a reset is no SYN",
    "(TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN",
    "(TCP_SYN | TCP_ACK)) == TCP_SYN",
  ),
  transport("no router forwarded a neighbour's message", "packet->hop_limit == 255 &&", ""),
  transport("a fragment is no ICMP error", "!packet->fragment && has_error_type", "has_error_type"),
];

const ADDRESSES: readonly Mutant[] = [
  source(
    "sources are checked of what pods send",
    "return context->direction == DIRECTION_EGRESS && has_address(context);",
    "return has_address(context);",
  ),
  source("only used places hold addresses", "i < endpoint->addresses_v4_used && ", ""),
  source(
    "an endpoint may have further sources",
    "(endpoint->more_sources && is_source_v4",
    "(false && is_source_v4",
  ),
  source(
    "IPv4 sources have versions",
    "is_source_v4(endpoint->ifindex, context->version, address)",
    "is_source_v4(endpoint->ifindex, 0, address)",
  ),
  source(
    "IPv6 sources are of one endpoint",
    ".length = 160, .ifindex = ifindex",
    ".length = 160, .ifindex = ifindex * 0",
  ),
  neighbour(
    "padding of what the pod sends is zeros",
    "if (*byte)\n\t\t\treturn 0;",
    "if (*byte > 254)\n\t\t\treturn 0;",
  ),
  neighbour("a pod is no router", "type == ND_ROUTER_ADVERT || ", ""),
  neighbour("IPv4 has redirects too", "packet->icmp_type == ICMP_REDIRECT || ", ""),
  neighbour(
    "a pod reports about packets to itself: IPv4",
    "owns_v4(context, v4->daddr) ? NOT_NEIGHBOUR : REASON_ROUTER",
    "NOT_NEIGHBOUR",
  ),
  neighbour(
    "a pod reports about packets to itself: IPv6",
    "owns_v6(context, (const void *)&v6->daddr) ? NOT_NEIGHBOUR : REASON_ROUTER",
    "NOT_NEIGHBOUR",
  ),
  neighbour("a pod's ICMP error is whole", "if (packet->fragment || bytes >", "if (bytes >"),
  neighbour(
    "a pod's ICMP error is short",
    "packet->fragment || bytes > (is_v6",
    "packet->fragment || !(is_v6",
  ),
  neighbour(
    "a pod's ICMP error has the header that it quotes",
    "!v4 || packet->payload < sizeof(struct icmp_header) + sizeof(*v4)",
    "!v4",
  ),
  neighbour("a pod does not query", "message->type == IGMP_QUERY || ", ""),
  neighbour(
    "a pod advertises its own addresses only",
    "|| may_claim_v6(context, &found->target);",
    "|| true;",
  ),
  neighbour(
    "options of neighbour discovery have one length",
    "if (option->length != 1)\n\t\treturn false;",
    "",
  ),
  neighbour("reserved fields are zero", "message->reserved & bpf_htonl(reserved)", "false"),
  neighbour(
    "a solicitation goes to whom it asks for",
    "!is_unspecified(&packet->source) && equal_addresses(destination, target) &&",
    "!is_unspecified(&packet->source) &&",
  ),
  neighbour("nothing is behind a packet but padding", "bytes <= ETH_ZLEN + (network - ETH_HLEN)", "true"),
  neighbour(
    "listener discovery stays on its link",
    "packet->fragment || packet->hop_limit != 1 || packet->icmp_code",
    "packet->fragment || packet->icmp_code",
  ),
  neighbour("listeners are many", "!is_multicast(group))", "false)"),
  neighbour("records fill the report", "return at == end;", "return true;"),
  neighbour(
    "an ARP probe is about the pod's own address",
    "sender ? sender : (__be32)packet->destination.low",
    "sender",
  ),
  neighbour(
    "a reply has a sender",
    "if (!sender && header->operation != bpf_htons(ARP_REQUEST))",
    "if (false)",
  ),
  source("DHCP's first question goes to all of the link", "== bpf_htonl(BROADCAST_V4) &&", "!= 1 &&"),
  source("DHCP is asked by pods that may send", "return isolated(context, DIRECTION_EGRESS) || ", "return "),
  source(
    "fragments of IPv6 made anew are not the node's",
    "!is_v6(packet) || whole)",
    "!is_v6(packet) || whole || packet->fragment)",
  ),
];

const FLOWS: readonly Mutant[] = [
  table("the hash is more than linear", "sum *= secret->finish;", ""),
  table("the second bucket depends on all of the hash", "return sum ^ sum >> 32;", "return sum;"),
  table("the hash is keyed", "(__u32)words[i] + (__u32)secret->hash[i];", "(__u32)words[i];"),
  table("words depend on those before them", "MIXED ? product ^ product >> 32 : 0", "MIXED ? word : 0"),
  table(
    "the last word tells keys apart",
    "return words[0] ^ words[count - 1];",
    "return words[0] ^ words[1];",
  ),
  table(
    "a claimed place is not free",
    "return (left >> 63) & differ(data, FLOW_CLAIMED);",
    "return left >> 63;",
  ),
  table(
    "the second bucket is looked at while a flow in it lives",
    "__u32 last = expires >> SECOND_SHIFT;",
    "__u32 last = expires >> (SECOND_SHIFT + 1);",
  ),
  table("no confirmed flow of others is evicted", "} else if (!confirmed && score", "} else if (score"),
  table(
    "flows expire",
    "return flow->place < SET_PLACES && flow_expires(flow->seen) > now;",
    "return flow->place < SET_PLACES;",
  ),
  conntrack(
    "an echo's flow is its asker's",
    "remote_port = is_echo_request(packet) == out;",
    "remote_port = 0;",
  ),
  conntrack("a reset shortens the wait", "return TIMEOUT_TCP_RESET;", "return TIMEOUT_TCP_ESTABLISHED;"),
  conntrack(
    "an end shortens the wait",
    "if (state & (FLOW_FIN_OPENER | FLOW_FIN_OTHER))\n\t\treturn TIMEOUT_TCP_CLOSING;",
    "",
  ),
  conntrack(
    "the opener must speak again",
    "else if (state & FLOW_REPLIED)\n\t\tstate |= FLOW_CONFIRMED;",
    "",
  ),
  conntrack(
    "each side has its own end",
    "state |= from_opener ? FLOW_FIN_OPENER : FLOW_FIN_OTHER;",
    "state |= FLOW_FIN_OPENER;",
  ),
  conntrack("a reset confirms nothing", "if (packet->tcp_flags & TCP_RST)\n\t\treturn state;", ""),
  conntrack(
    "a reset keeps no half-open connection",
    "if (packet.tcp_flags & TCP_RST && expires > flow_expires(data))\n\t\texpires = flow_expires(data);",
    "",
  ),
  conntrack(
    "a revoked flow's entry is kept by the answers that pass",
    "expires = flow_time(context->node, now() + context->node->timeouts[TIMEOUT_UDP_STREAM]) + 1;",
    "expires = flow_expires(flow->seen);",
  ),
  decide(
    "answers of a revoked flow leave it to its opener",
    "flow_entomb(context, packet, flow);\n\t\treturn reason;",
    "return flow_prepare(context, packet, own, 0, reason);",
  ),
  decide(
    "a segment of no flow that passes freely opens none",
    "CACHED_FREE);\n\t\treturn REASON_NOT_ISOLATED;",
    "CACHED_FREE);\n\t\treturn admit(hook, context, packet, flow, false, true, false);",
  ),
  decide(
    "a segment of the node's of no flow opens none",
    "else if (!is_midstream(packet) && !is_echo_reply(packet))",
    "else",
  ),
  transport(
    "an INIT opens an association",
    "return packet->sctp_init || is_syn(packet);",
    "return is_syn(packet);",
  ),
  midstream(
    "a reset of no flow opens none",
    "if (packet->tcp_flags & TCP_RST)\n\t\treturn REASON_POLICY;",
    "",
  ),
  midstream("a segment of no flow has a reason of its own", "return REASON_UNTRACKED;", "return reason;"),
  midstream(
    "a segment that a rule allows has its answers pass",
    "if (reason == REASON_POLICY && !free_by_default(&context))\n\t\treason = pick_up",
    "if (false)\n\t\treason = pick_up",
  ),
  midstream(
    "a segment opens no flow where its direction is free",
    "if (reason == REASON_POLICY && !free_by_default(&context))",
    "if (reason == REASON_POLICY)",
  ),
  conntrack("fragments expire", "!first || expired(first->expires)", "!first"),
  conntrack("fragments go one way", "key->direction = context->direction;", "key->direction = 0;"),
  decide(
    "a generation judges anew",
    "flow_stamp(flow->seen) == (generation & FLOW_STAMP_MASK) || flow_state(flow->seen) & FLOW_EXEMPT",
    "flow_stamp(flow->seen) <= (generation & FLOW_STAMP_MASK)",
  ),
  decide(
    "the node's flows are not judged",
    "flow_stamp(flow->seen) == (generation & FLOW_STAMP_MASK) || flow_state(flow->seen) & FLOW_EXEMPT",
    "flow_stamp(flow->seen) == (generation & FLOW_STAMP_MASK)",
  ),
  decide("an ICMP error goes back to the sender", "v4->daddr == (__be32)quoted->source.low &&", ""),
  decide(
    "an ICMP error holds its quote",
    "&&\n\t\t       end <= offset_of(outer) + bpf_ntohs(v4->tot_len)",
    "",
  ),
  decide(
    "what the node opened, it alone goes on with",
    "*found && flow_state(flow->seen) & FLOW_EXEMPT && context->direction == DIRECTION_INGRESS",
    "false",
  ),
  decide(
    "denied fragments are not remembered",
    "is_first_fragment(packet) && passes(reason & (REASONS - 1)) && !exempt",
    "is_first_fragment(packet) && reason >= 0 && !exempt",
  ),
  decide(
    "fragments of the node's own pass",
    "if (exempt(context))\n\t\t\treturn exempt_reason(context);\n\t\tif (!isolated",
    "if (!isolated",
  ),
  decide("a revoked flow is called so", "return found ? REASON_REVOKED : reason;", "return reason;"),
];

const STATELESS: readonly Mutant[] = [
  stateless(
    "a pod isolated in both directions needs entries",
    "isolated(context, DIRECTION_INGRESS) && !isolated(context, DIRECTION_EGRESS);",
    "isolated(context, DIRECTION_INGRESS);",
  ),
  stateless(
    "a SYN that conntrack has not seen has an entry",
    "how_assigned(hook) == ASSIGNED_OPENING &&",
    "how_assigned(hook) != ASSIGNED_ERROR &&",
  ),
  stateless(
    "a SYN to a port without known sockets has an entry",
    "socket_seen(context, packet) == SOCKET_FOUND && !free_by_default(context);",
    "!free_by_default(context);",
  ),
  stateless(
    "a SYN has an entry where the direction is free by default",
    "socket_seen(context, packet) == SOCKET_FOUND && !free_by_default(context);",
    "socket_seen(context, packet) == SOCKET_FOUND;",
  ),
  stateless(
    "sockets are known for a second",
    "age < context->node->ticks_per_second ? SOCKET_FOUND",
    "true ? SOCKET_FOUND",
  ),
  stateless(
    "sockets are those of one port of one pod",
    "return ((__u64)endpoint->incarnation << 17 | (__u32)port << 1 | v6) << SOCKET_KEY_AT;",
    "return ((__u64)endpoint->incarnation * 0 | (__u32)port * 0 | v6 | 2) << SOCKET_KEY_AT;",
  ),
  stateless("sockets are those of one family", "(__u32)port << 1 | v6)", "(__u32)port << 1 | (v6 & 0))"),
  stateless(
    "sockets that are not there are known to be absent",
    "found = has_pod_socket(hook, endpoint, &memory->tuple, v6);",
    "found = true;",
  ),
  stateless(
    "policy judges each segment without an entry",
    "return !free_by_default(context) && judge(context, packet, DIRECTION_INGRESS) == REASON_POLICY;",
    "return !free_by_default(context);",
  ),
  stateless(
    "a segment has an entry where the direction is free by default",
    "return !free_by_default(context) && judge(context, packet, DIRECTION_INGRESS) == REASON_POLICY;",
    "return judge(context, packet, DIRECTION_INGRESS) == REASON_POLICY;",
  ),
  stateless(
    "a segment that conntrack has not seen gets an entry",
    "how != ASSIGNED_ENDED && (how != ASSIGNED_OPEN ||",
    "how != ASSIGNED_ENDED && (how == ASSIGNED_ERROR ||",
  ),
  stateless(
    "the last segments of a connection need no entry",
    "how != ASSIGNED_ENDED && (how != ASSIGNED_OPEN ||",
    "(how != ASSIGNED_OPEN ||",
  ),
  stateless(
    "an ICMP error is related by conntrack",
    "!is_one_sided(context, quoted) || how_assigned(hook) != ASSIGNED_ERROR",
    "!is_one_sided(context, quoted)",
  ),
  stateless(
    "an ICMP error quotes what goes the other way",
    "turned.direction = DIRECTION_EGRESS;",
    "turned.direction = DIRECTION_INGRESS;",
  ),
  stateless(
    "policy judges what an ICMP error quotes",
    "return judge(&turned, quoted, DIRECTION_INGRESS) == REASON_POLICY;",
    "return turned.direction == DIRECTION_EGRESS;",
  ),
  decide(
    "what audit lets pass has an entry",
    "context->plain && reason == REASON_POLICY && is_syn(packet)",
    "context->plain && is_syn(packet)",
  ),
  decide(
    "a pod's answer ends its own earlier connection",
    "return (flow_opener(flow->seen) == DIRECTION_EGRESS && !(state & FLOW_EXEMPT)) ||\n\t       state & (FLOW_FIN",
    "return state & (FLOW_FIN",
  ),
  decide(
    "a pod's answer ends a connection that has ended",
    "return (flow_opener(flow->seen) == DIRECTION_EGRESS && !(state & FLOW_EXEMPT)) ||\n\t       state & (FLOW_FIN_OPENER | FLOW_FIN_OTHER);",
    "return flow_opener(flow->seen) == DIRECTION_EGRESS && !(state & FLOW_EXEMPT);",
  ),
  decide(
    "the end of a flow is written into its entry",
    "if (context->plain && !*found && is_midstream(packet)",
    "if (context->plain && is_midstream(packet)",
  ),
  cache(
    "what leaves freely says nothing of what comes",
    "kind <= (context->direction == DIRECTION_EGRESS ? CACHED_FREE : CACHED_JUDGED)",
    "kind <= CACHED_FREE",
  ),
];

const VERDICTS: readonly Mutant[] = [
  policy("protocols without ports are the last place", "return PORT_LINE_OTHER;", "return bpf_ntohs(port);"),
  policy(
    "the opener's destination port counts",
    "opener == context->direction ? packet->destination_port",
    "true ? packet->destination_port",
  ),
  policy("an answer is kept for one port", " | place << JUDGED_PLACE_AT", ""),
  policy("an answer is kept for one policy", "number << JUDGED_POLICY_AT | ", "1U << JUDGED_POLICY_AT | "),
  policy("an answer is kept for one direction", "(opener & 1) << JUDGED_OPENER_AT | ", ""),
  policy(
    "a missing policy denies",
    "if (!identities)\n\t\treturn REASON_INCOMPLETE;",
    "if (!identities)\n\t\treturn REASON_NOT_ISOLATED;",
  ),
  verdict(
    "a TCP checksum that is written later goes where the header has it",
    "start != transport || field != transport + TCP_CHECKSUM_AT",
    "field > transport + TCP_CHECKSUM_AT",
  ),
  verdict(
    "a checksum that is written later is not in the IP header",
    "return field < transport;",
    "return false;",
  ),
  verdict(
    "what cannot be parsed has no checksum that is written later",
    "is_partial(hook) || has_checksum_later(hook, context)",
    "is_partial(hook)",
  ),
  verdict(
    "spoofed packets are dropped",
    "if (spoofed(context, packet))\n\t\treturn REASON_SPOOFED;\n\tif (encapsulated",
    "if (encapsulated",
  ),
  verdict("what hides addresses is dropped", "packet.family == FAMILY_HIDDEN && guarded(context)", "false"),
  verdict(
    "what cannot be read is checked for its source",
    "(packet.family == FAMILY_IPV4 || packet.family == FAMILY_IPV6) && spoofed(context, &packet)",
    "false",
  ),
  verdict(
    "malformed ARP is none",
    "parsed == PARSED_ARP && whole && context",
    "parsed == PARSED_ARP && (whole || parsed) && context",
  ),
  verdict(
    "what cannot be read never leaves a guarded pod",
    "if (guarded(context))\n\t\treturn parsed",
    "if (false)\n\t\treturn parsed",
  ),
  verdict("ICMP errors are related", "\t    is_related(", "\t    false && is_related("),
  verdict(
    "headers are made linear",
    "return is_partial(hook) && (parsed",
    "return is_partial(hook) && hook->data == 0 && (parsed",
  ),
];

const NAMES: readonly Mutant[] = [
  dns(
    "names have no other characters",
    "byte == '-' || byte == '_'))\n\t\t\treturn 1;",
    "byte == '-' || byte == '_'))\n\t\t\treturn 0;",
  ),
  dns("letters of both cases are the same", "byte += 'a' - 'A';", "byte += 0;"),
  dns(
    "a question's name has no pointer",
    "if (byte > DNS_LABEL_MAX)\n\t\t\treturn 1;",
    "if (byte > DNS_LABEL_MAX)\n\t\t\tbyte &= DNS_LABEL_MAX;",
  ),
  dns(
    "a name ends",
    "if (!reader.valid || reader.length > DNS_NAME_MAX)",
    "if (reader.length > DNS_NAME_MAX)",
  ),
  dns("addresses that lead back are refused", "if (is_nameless(&memory->address)) {", "if (false) {"),
  dns("link-local addresses are refused", " || (bytes[0] == 169 && bytes[1] == 254)", ""),
  dns(
    "addresses behind NAT64 are IPv4's",
    "key->family == COUNTED_IPV4 || is_nat64",
    "key->family == COUNTED_IPV4",
  ),
  dns("a time to live has a minimum", "ttl < NAME_TTL_MIN ? NAME_TTL_MIN : ", ""),
  dns("a time to live has a maximum", "ttl > NAME_TTL_MAX ? NAME_TTL_MAX : ttl", "ttl"),
  dns("a time to live with the highest bit is 0", "ttl >> 31 ? 0 : ttl", "ttl"),
  dns("an address of one name keeps its other names", "soonest = slot->expires;\n", ""),
  dns("a shorter time to live does not end a longer one", "if (slot->expires < expires)\n", ""),
  dns("records end inside the message", "if (at + 10 + length > reader->end)\n\t\treturn 1;", ""),
  dns("records of other classes are none", "if (read_be16(memory, at + 2) != DNS_IN)\n\t\treturn 0;", ""),
  dns("an address has its length", "type == DNS_A && length == sizeof(__be32)", "type == DNS_A"),
  dns("an answer is about the question's name", "question->name != memory->sent.name || ", ""),
  dns("a question expires", "expired(question->expires) ||", ""),
  dns("a question has one answer", "bpf_map_delete_elem(&questions, &memory->question) != 0", "false"),
  dns("only answers answer", "!!(header->flags & DNS_RESPONSE) != response || ", ""),
  dns("only standard queries are read", "header->flags & DNS_OPERATION ||", ""),
  dns("a message has one question", "header->questions != bpf_htons(1) || ", ""),
  dns("errors give no addresses", "(response && header->code & 0x0f)", "false"),
  dns(
    "questions of other types are none",
    "(type->type != bpf_htons(DNS_A) && type->type != bpf_htons(DNS_AAAA))",
    "false",
  ),
  dns("an answer has the question's number", "memory->question.id = header->id;", "memory->question.id = 0;"),
  dns(
    "an answer comes from the resolver that was asked",
    ".resolver = out ? packet->destination : packet->source,",
    "",
  ),
  dns(
    "an answer comes to the port that asked",
    ".local_port = out ? packet->source_port : packet->destination_port,",
    "",
  ),
  dns(
    "a datagram is as long as it says",
    "length <= UDP_HEADER || (length > packet->payload && !is_first_fragment(packet))",
    "length <= UDP_HEADER",
  ),
  dns(
    "a resolver is not the pod itself",
    "owns_v4(&context, (__be32)packet->destination.low))\n\t\treturn 0;",
    "owns_v4(&context, (__be32)packet->destination.low))\n\t\treturn 1;",
  ),
  dns("a resolver is allowed by policy", "if (!is_resolver(hook, &context, packet))\n\t\t\treturn 0;", ""),
  dns(
    "a resolver by TCP is one by UDP",
    "packet->protocol = IPPROTO_UDP;\n\t}\n\treturn 1;",
    "break;\n\t}\n\treturn 1;",
  ),
  dns("what the pod has sent itself teaches it nothing", " || exempt(context) == FLOW_OWN", ""),
  dns(
    "a stream begins with the SYN-ACK to the pod's SYN",
    "bpf_ntohl(memory->tcp.acknowledged) - (__u32)word <= stream_length(word))",
    "true)",
  ),
  dns("a stream's first bytes come first", " || (stream_state(word) == STREAM_OPENED && behind != 0)", ""),
  dns(
    "the pod acknowledges what is known",
    " ||\n\t    (stream_state(word) == STREAM_OPENED && bpf_ntohl(memory->tcp.acknowledged) != (__u32)word)",
    "",
  ),
  dns(
    "a reset ends a stream",
    "if (memory->tcp.flags & TCP_RST)\n\t\treturn lose_stream(memory, false);",
    "",
  ),
  dns(
    "what comes in fragments is not followed",
    "if (packet->fragment)\n\t\treturn context.direction == DIRECTION_EGRESS ? lose_stream(memory, false) : 0;",
    "",
  ),
  dns(
    "a message begins where the one before it ends",
    "segment->sequence + begin + length, 0);",
    "segment->sequence + begin + left, 0);",
  ),
  dns(
    "a message's length may come before it",
    "left == 0 && length ? stream_word(STREAM_LENGTH, segment->sequence + begin, length)",
    "false ? 0",
  ),
  dns(
    "a segment has messages up to a number",
    "if (segment->messages++ == SEGMENT_MESSAGES)\n\t\treturn lose_stream(memory, true);",
    "segment->messages++;",
  ),
];

export const BPF_MUTANTS: readonly Mutant[] = [
  ...PARSING,
  ...ADDRESSES,
  ...FLOWS,
  ...STATELESS,
  ...VERDICTS,
  ...NAMES,
];
