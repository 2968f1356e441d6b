// The transport protocols, by their IP protocol numbers (IANA). To add one: CONTRIBUTING.md.

/** Those whose ports a NetworkPolicy can name, in the order of the port line (place_of() in bpf/policy.h). */
const WITH_PORTS = { TCP: 6, UDP: 17, SCTP: 132 } as const;

export type Protocol = keyof typeof WITH_PORTS;

export const PROTOCOLS = Object.keys(WITH_PORTS) as [Protocol, ...Protocol[]];

export const isProtocol = (text: string): text is Protocol => Object.hasOwn(WITH_PORTS, text);

/** "TCP, UDP or SCTP", for messages. */
export const PROTOCOLS_TEXT = PROTOCOLS.join(", ").replace(/, (?=\w+$)/, " or ");

export const IP_PROTOCOL = { ...WITH_PORTS, ICMP: 1, ICMPV6: 58 } as const;

const NAMES = new Map<number, string>([
  ...PROTOCOLS.map((name): [number, string] => [WITH_PORTS[name], name]),
  [IP_PROTOCOL.ICMP, "ICMP"],
  [IP_PROTOCOL.ICMPV6, "ICMPv6"],
]);

/** "TCP", "ICMPv6"; the number in digits where it is none of these. */
export const protocolText = (number: number): string => NAMES.get(number) ?? String(number);

export const hasPorts = (number: number): boolean => Object.values<number>(WITH_PORTS).includes(number);

export const isIcmp = (number: number): boolean =>
  number === IP_PROTOCOL.ICMP || number === IP_PROTOCOL.ICMPV6;
