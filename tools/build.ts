// Bundles the command line, the agent and their npm packages into dist/, so that a start parses few files.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));

const options = {
  absWorkingDir: root,
  // Each file comes to lie as deep below the root as its sources in src/*/, so that what they look for relative to
  // themselves (the BPF object, package.json) is found from here too.
  entryPoints: ["src/cli/main.ts"],
  outbase: "src",
  outdir: "dist",
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  // Its compiled half is found beside its own files.
  external: ["bpf-ts"],
  // Bundled CommonJS packages call require() for Node's own modules; an ES module has none unless it makes one.
  banner: {
    js:
      'import { createRequire as bundleCreateRequire } from "node:module";' +
      "const require = bundleCreateRequire(import.meta.url);",
  },
  sourcemap: "linked",
  // Stack traces show where; the text of the lines stays in src/.
  sourcesContent: false,
  logLevel: "warning",
} as const satisfies BuildOptions;

try {
  // Nothing is written unless all could be built: a mistake in a source leaves the last good dist/ in place.
  const { outputFiles } = await build({ ...options, write: false });
  rmSync(`${root}dist`, { recursive: true, force: true });
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
  writeFileSync(`${root}dist/weir.js`, 'import "./cli/main.js";\n');
} catch {
  // esbuild has told what is wrong, with file and line.
  process.exitCode = 1;
}
