// Case files for `weir test` in a directory of the test's own: one that is valid, and ways to break it.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Outcome, runIn } from "./world.ts";

/** Frontend and batch job before a web server that is for the frontend; then for no client. */
export const SHOP = `format: np-conformance/1
id: shop/web
name: the web server is for the frontend
source: {project: shop, licence: Apache-2.0, truth: by hand}
features: [ingress, peer-pod-selector]
cluster:
  ipFamily: IPv4
  namespaces: [{name: shop, labels: {}}]
  nodes: [{name: n1, labels: {}, ips: [192.168.0.1]}]
  pods:
    - {namespace: shop, name: web, labels: {app: web}, ips: [10.0.0.1], ports: []}
    - {namespace: shop, name: frontend, labels: {app: frontend}, ips: [10.0.0.2], ports: []}
    - {namespace: shop, name: batch, labels: {app: batch}, ips: [10.0.0.3], ports: []}
steps:
  - name: for the frontend
    actions:
      - type: createPolicy
        object:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {name: web, namespace: shop}
          spec:
            podSelector: {matchLabels: {app: web}}
            ingress: [{from: [{podSelector: {matchLabels: {app: frontend}}}], ports: [{port: 8080}]}]
    probe: {mode: pod-ip}
    expected:
      endpoints: [shop/web, shop/frontend, shop/batch]
      tables:
        TCP/8080: ["L..", ".L.", "X.L"]
        TCP/80: ["L..", "XL?", "X.L"]
  - name: for nobody
    actions:
      - type: updatePolicy
        object:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {name: web, namespace: shop}
          spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
    probe: {mode: pod-ip}
    expected:
      checks:
        - {from: shop/frontend, to: shop/web, protocol: TCP, port: 8080, verdict: blocked, reason: closed for the night}
        - {from: "node:n1", to: shop/web, protocol: TCP, port: 8080, verdict: allowed, evaluator: skip}
        - {from: shop/frontend, to: shop/web, protocol: ICMP, port: 0, verdict: allowed, optional: true}
`;

/** Expects two things that do not hold: the batch job at the web server, and a closed server that answers. */
export const WRONG = SHOP.replace("id: shop/web", "id: shop/wrong")
  .replace('TCP/8080: ["L..", ".L.", "X.L"]', 'TCP/8080: ["L..", ".L.", "..L"]')
  .replace("port: 8080, verdict: blocked", "port: 8080, verdict: allowed");

/** A case that is sent to no engine. */
export const OPEN = SHOP.replace("id: shop/web", "id: shop/open")
  .replace(
    /\n {6}tables:[\s\S]*?(?=\n {2}- name: for nobody)/,
    '\n      tables: {TCP/80: ["???", "???", "???"]}',
  )
  .replace(/\n {2}- name: for nobody[\s\S]*/, "\n");

export interface Folder {
  readonly path: string;
  write(name: string, text: string): string;
  /** Runs `weir test ARGS` on the oracle, unless they name another engine, with durations as "0 s". */
  test(...args: readonly string[]): Promise<Outcome>;
  close(): void;
}

export function openFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), "wt-cases-"));
  const timeless = (text: string): string =>
    text
      .replaceAll(path, "DIR")
      .replaceAll(/\d+\.\d+ s\b/g, "0 s")
      .replaceAll(/ time="[\d.]+"/g, ' time="0"');
  return {
    path,
    write(name, text) {
      const file = join(path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
      return file;
    },
    async test(...args) {
      const engine = args.includes("--engine") ? [] : ["--engine", "oracle"];
      const { exitCode, stdout, stderr } = await runIn(["test", ...engine, ...args]);
      return { exitCode, stdout: timeless(stdout), stderr: timeless(stderr) };
    },
    close: () => rmSync(path, { recursive: true, force: true }),
  };
}
