// The version of the libbpf that the bindings run on, for those who may not ask the bindings themselves.

export { libbpfVersion } from "bpf-ts";
