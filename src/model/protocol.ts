// The transport protocols that a NetworkPolicy can name.

export type Protocol = "TCP" | "UDP" | "SCTP";
