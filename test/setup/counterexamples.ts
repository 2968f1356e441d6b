// Where all that counts is that a test fails (tools/mutants.ts), counterexamples are not shrunk: of a world that takes gigabytes and minutes.

if (process.env["WEIR_SHRINK"] === "no") {
  const { default: fc } = await import("fast-check");
  fc.configureGlobal({ endOnFailure: true });
}
