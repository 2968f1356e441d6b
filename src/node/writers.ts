// Whether a file is being written.

export { isOpenForWriting } from "bpf-ts";
