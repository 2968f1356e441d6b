// Where the built BPF object is.

import { fileURLToPath } from "node:url";

export const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));
