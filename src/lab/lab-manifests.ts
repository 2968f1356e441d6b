// Kubernetes manifests of a lab's namespaces and pods, as an API server would show them, and how files get into a directory.

import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { assertNever } from "../base/assert.ts";
import type { EndpointSpec } from "./netns-lab.ts";
import type { Wire } from "./netns-links.ts";

export type LabelMap = Readonly<Record<string, string>>;

export interface PodSpec extends EndpointSpec {
  /** NAMESPACE/NAME, which is the endpoint's name in the lab too. */
  readonly name: string;
  readonly labels: LabelMap;
  /** Names for container ports. */
  readonly portNames?: Readonly<Record<string, { readonly port: number; readonly protocol: "TCP" | "UDP" }>>;
  /** How the agent finds the pod's interface: by annotation of namespace or link, or from the routes. */
  readonly found?: "netns" | "interface" | "route";
  /** Annotations besides that one. */
  readonly annotations?: LabelMap;
}

export const namespaceManifest = (name: string, labels: LabelMap): object => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, labels },
});

/** A running pod with the addresses of its endpoint, and the annotation that says which interface is its own. */
export function podManifest(pod: PodSpec, wire: Wire): object {
  const [namespace = "", name = ""] = pod.name.split("/");
  const ips = pod.addresses.map((ip) => ({ ip }));
  const ports = Object.entries(pod.portNames ?? {}).map(([portName, { port, protocol }]) => {
    return { name: portName, containerPort: port, protocol };
  });
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      labels: pod.labels,
      annotations: { ...annotationsOf(pod.found ?? "netns", wire), ...pod.annotations },
    },
    spec: { containers: [{ name: "main", image: "registry.example/main:1", ports }] },
    status: { phase: "Running", podIP: ips[0]?.ip, podIPs: ips },
  };
}

function annotationsOf(found: NonNullable<PodSpec["found"]>, wire: Wire): LabelMap {
  switch (found) {
    case "netns":
      return { "weir.dev/netns": wire.netns };
    case "interface":
      return { "weir.dev/interface": wire.link };
    case "route":
      return {};
    default:
      return assertNever(found, "way to find an interface");
  }
}

/** One YAML document after another. */
export const yamlOf = (documents: readonly object[]): string =>
  documents.map((document) => stringify(document, { lineWidth: 0 })).join("---\n");

/** A directory of manifests. Files are put in place whole, as `kubectl` users' editors and ConfigMaps do. */
export interface ManifestDirectory {
  readonly path: string;
  put(file: string, content: string | readonly object[]): void;
  remove(file: string): void;
}

export function manifestDirectory(path: string): ManifestDirectory {
  mkdirSync(path, { recursive: true });
  return {
    path,
    put(file, content) {
      const unfinished = join(path, `.${file}.unfinished`);
      writeFileSync(unfinished, typeof content === "string" ? content : yamlOf(content));
      renameSync(unfinished, join(path, file));
    },
    remove(file) {
      rmSync(join(path, file));
    },
  };
}
