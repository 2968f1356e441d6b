// Writes the plain manifests of deploy/ from the Helm chart.
//
//   node tools/manifests.ts

import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { agentManifest, cleanupManifest } from "./chart/manifests.ts";

const pathOf = (name: string): string => fileURLToPath(new URL(`../deploy/${name}`, import.meta.url));

writeFileSync(pathOf("weir.yaml"), agentManifest());
writeFileSync(pathOf("weir-cleanup.yaml"), cleanupManifest());
