// Path of the built BPF object.

import { fileURLToPath } from "node:url";

export const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));
