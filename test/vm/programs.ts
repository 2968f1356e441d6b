// The kernel verifier's statistics on the built programs: how many instructions it checked, and for how long.
import { fileURLToPath } from "node:url";
import { BpfError, BpfObject } from "bpf-ts";

/** The verifier's limit is a million (BPF_COMPLEXITY_LIMIT_INSNS). Kernels count differently: half of it is the margin for other kernels. */
const INSTRUCTIONS_MAX = 500_000;

for (const file of ["filter.bpf.o", "guard.bpf.o", "filter-ct.bpf.o", "guard-ct.bpf.o"]) {
  using object = BpfObject.open(fileURLToPath(new URL(`../../bpf/build/${file}`, import.meta.url)));
  const started = performance.now();
  const refused = await object.load().catch((error: unknown) => {
    // Conntrack may be a module here, whose types may be unreadable: then the agent loads the other object.
    if (file.endsWith("-ct.bpf.o") && error instanceof BpfError && error.verifierLog === undefined)
      return error.message;
    // The end of the log, where the verifier gives the reason; the whole of it is megabytes.
    if (error instanceof BpfError) process.stdout.write(`${error.verifierLog?.slice(-3_000) ?? ""}\n`);
    throw new Error(error instanceof Error ? error.message : String(error));
  });
  if (typeof refused === "string") {
    process.stdout.write(`${file} does not load here: ${refused}\n`);
    continue;
  }
  process.stdout.write(`${file} loaded in ${Math.round(performance.now() - started)} ms\n`);
  for (const { name } of object.programs) {
    using program = object.program(name);
    const { verifiedInstructions, translatedSize } = program.info;
    process.stdout.write(`${name}: ${verifiedInstructions} instructions verified, ${translatedSize} bytes\n`);
    if (verifiedInstructions > INSTRUCTIONS_MAX) process.exitCode = 1;
  }
}
