// Bundles the command line, the agent and their npm packages into dist/, so that a start parses few files; and the page of `weir ui`.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { licenceTexts } from "./licences.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

const CLIENT = "@kubernetes/client-node";

/**
 * Of the client only its credentials are used. It does not say that its 700 files of models have no side effects, so they would
 * all be loaded with them: 10 MB of memory, and a second until the agent runs.
 */
const onlyWhatIsUsed: Plugin = {
  name: "only what is used of the client",
  setup({ onResolve, resolve }) {
    onResolve(
      { filter: new RegExp(`^${CLIENT}$`) },
      async ({ path, importer, resolveDir, kind, pluginData }) => {
        if (pluginData === CLIENT) return undefined;
        const found = await resolve(path, { importer, resolveDir, kind, pluginData: CLIENT });
        return { path: found.path, errors: found.errors, sideEffects: false };
      },
    );
    onResolve({ filter: /^\./ }, ({ path, resolveDir }) =>
      resolveDir.includes(`/node_modules/${CLIENT}/`)
        ? { path: join(resolveDir, path), sideEffects: false }
        : undefined,
    );
  },
};

const options = {
  absWorkingDir: root,
  // Each file comes to lie as deep below the root as its sources in src/*/, so that what they look for relative to
  // themselves (the BPF object, package.json) is found from here too.
  // Besides the command, the programs that it starts as processes of their own (src/base/child-program.ts).
  entryPoints: [
    "src/cli/main.ts",
    "src/engines/live-worker.ts",
    "src/lab/pod-process.ts",
    "src/source/manifests/reader-process.ts",
  ],
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
  plugins: [onlyWhatIsUsed],
  metafile: true,
  sourcemap: "linked",
  // Stack traces show where; the text of the lines stays in src/.
  sourcesContent: false,
  logLevel: "warning",
} as const satisfies BuildOptions;

/** The page of `weir ui`, for browsers: src/cli/ui/page-document.ts puts both files into one document. */
const page = {
  absWorkingDir: root,
  entryPoints: { page: "src/ui/main.tsx" },
  outdir: "dist/ui",
  bundle: true,
  format: "esm",
  platform: "browser",
  target: ["chrome120", "firefox120", "safari17"],
  tsconfig: "src/ui/tsconfig.json",
  minify: true,
  // They are part of the document: `require-trusted-types-for` and hashes take no map.
  sourcemap: false,
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
} as const satisfies BuildOptions;

const results = await Promise.all([
  build({ ...options, write: false }),
  build({ ...page, write: false }),
]).catch((error: unknown) => {
  // A mistake in a source has been told by esbuild, with file and line.
  if (!(error instanceof Error && "errors" in error)) throw error;
});
if (results === undefined) process.exit(1);
// Not all that was read got in.
const bundled = results
  .flatMap(({ metafile }) => Object.values(metafile.outputs))
  .flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
  );
const licences = licenceTexts(root, bundled);

// Only now, so that a mistake leaves the last good dist/ in place.
rmSync(`${root}dist`, { recursive: true, force: true });
for (const { path, contents } of results.flatMap(({ outputFiles }) => outputFiles)) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
writeFileSync(`${root}dist/weir.js`, 'import "./cli/main.js";\n');
writeFileSync(`${root}dist/THIRD-PARTY-LICENSES`, licences);
