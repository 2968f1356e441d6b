// The messages between a lab and the processes inside its namespaces: one JSON object a line, on stdin and stdout.

/**
 * What is tried. "http" fetches `/` from a web server, "tcp" and "udp" send a few bytes to an echo server and wait for
 * the same bytes, "icmp" sends one echo request (ICMPv6 where the address is IPv6). There is no "sctp": neither Node nor
 * every kernel has sockets for it, so that SCTP is for tests that hand packets to the program itself.
 */
export type ProbeKind = "http" | "tcp" | "udp" | "icmp";

export interface Probe {
  readonly kind: ProbeKind;
  /** Where to: an IPv4 or IPv6 address. */
  readonly address: string;
  /** Absent for "icmp". */
  readonly port?: number;
  /** Which of the sender's own addresses to use; by default the kernel chooses. */
  readonly source?: string;
  /** How long to wait for the answer. */
  readonly timeoutMs: number;
  /** "udp" only: send the datagram once, instead of again every 100 ms until the answer comes. */
  readonly once?: boolean;
  /** Queries this resolver (an address) for this name first, and connects to the first address of `address`'s family in its answer. */
  readonly lookup?: {
    readonly name: string;
    readonly resolver: string;
    /** Over TCP at once, as with `options use-vc`; by default over UDP, and again over TCP if the answer is truncated. */
    readonly tcp?: boolean;
  };
  /** "tcp" and "udp" only: the minimum size of the request; by default a few bytes. */
  readonly bytes?: number;
}

/** The result. A denied packet is dropped without an answer, so denial is "silent". */
export type Outcome =
  | {
      readonly result: "reached";
      readonly afterMs: number;
      /** "http": the body. */
      readonly text?: string;
    }
  | { readonly result: "silent" }
  /** An unexpected answer: a refused connection, an unreachable network. */
  | { readonly result: "failed"; readonly reason: string };

export type ResultName = Outcome["result"];

/** One probe of a watch, by the time it was sent (milliseconds since the epoch). */
export interface Sample {
  readonly sentAtMs: number;
  readonly result: ResultName;
}

/** What a process gets at its start: its name, and what it serves on each of its addresses. */
export interface ProcessConfig {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Ports of web servers that answer with `name`. */
  readonly http: readonly number[];
  /** Ports of TCP servers that send back what they get. */
  readonly tcp: readonly number[];
  /** Ports of UDP servers that send back what they get. */
  readonly udp: readonly number[];
  /** What its DNS server (UDP and TCP port 53) answers, by name; without it there is none. */
  readonly dns?: Zone;
}

/** Addresses of either family, by name. The TTL of all is one second. */
export type Zone = Readonly<Record<string, readonly string[]>>;

export type Command =
  | { readonly command: "probe"; readonly probe: Probe }
  /** Opens a TCP connection to an echo server and keeps it. */
  | { readonly command: "open"; readonly probe: Probe }
  /** One round trip on a connection that "open" made. */
  | { readonly command: "say"; readonly flow: number; readonly timeoutMs: number; readonly bytes?: number }
  | { readonly command: "shut"; readonly flow: number }
  /** Starts the probe again and again, whatever becomes of the earlier ones. */
  | { readonly command: "watch"; readonly probe: Probe; readonly everyMs: number }
  | { readonly command: "unwatch"; readonly watch: number };

export type Reply =
  | { readonly reply: "outcome"; readonly outcome: Outcome }
  | { readonly reply: "opened"; readonly flow: number }
  | { readonly reply: "watching"; readonly watch: number }
  | { readonly reply: "samples"; readonly samples: readonly Sample[] }
  | { readonly reply: "done" }
  /** The command itself was wrong. */
  | { readonly reply: "error"; readonly reason: string };

export type Request = Command & { readonly id: number };

/** `id` 0 is the first line of all: the servers listen, or could not. */
export type Response = Reply & { readonly id: number };
