// `weir trace` to Services of manifests: the path to every backend, the exact text, its data, and exit codes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runIn } from "../world.ts";

const SHOP = "test/fixtures/shop/cluster";

const trace = (line: string) => runIn(["trace", "--manifests", SHOP, ...line.split(" ")]);

describe("to a Service", () => {
  it("goes through a Service to the pods behind it", async () => {
    expect(await trace("--from shop/gateway --to shop/web --port http")).toEqual({
      exitCode: 0,
      stdout: `allowed: TCP/80 from shop/gateway (10.244.1.10) to Service shop/web (10.96.0.10), and on to shop/web-1 (10.244.1.11), shop/web-2 (10.244.1.12) at TCP/8080
  egress of shop/gateway: not isolated
  ingress of shop/web-1, shop/web-2: isolated by shop/web
    allowed by shop/web ingress[0].from[0] (${SHOP}/policies.yaml:19)
`,
      stderr: "",
    });
    const { exitCode, stdout } = await trace("--from shop/db --to service/shop/web -o json");
    expect(exitCode).toBe(3);
    const via = { service: "shop/web", address: "10.96.0.10", port: 80, leaves: false, backends: 2 };
    expect(JSON.parse(stdout).paths).toEqual([
      expect.objectContaining({
        via,
        ports: "8080",
        allowed: false,
        to: { pod: "shop/web-1", address: "10.244.1.11" },
      }),
      expect.objectContaining({ via, to: { pod: "shop/web-2", address: "10.244.1.12" } }),
    ]);
  });

  // kube-proxy forwards nothing else that is sent to a ClusterIP.
  it.each([
    ["--to shop/web --port 81", "Service shop/web has no port 81/TCP; it has 80/TCP"],
    ["--to 10.96.0.10 --port 81-90", "Service shop/web has no port 81-90/TCP; it has 80/TCP"],
    ["--to shop/web --port 80 --protocol UDP", "Service shop/web has no port 80/UDP; it has 80/TCP"],
    ["--to shop/web --protocol UDP", "Service shop/web has no UDP port; it has 80/TCP"],
  ])("%s is not found: the Service has no such port", async (line, reason) => {
    expect(await trace(`--from shop/gateway ${line}`)).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: `weir: ${reason}\n`,
    });
  });

  it("answers for those ports of a range that the Service has", async () => {
    const { exitCode, stdout } = await trace("--from shop/gateway --to 10.96.0.10 --port 80-81");
    expect(exitCode).toBe(0);
    expect(stdout.match(/^(allowed|denied)[ :].*$/gm)).toEqual([
      expect.stringContaining(
        "TCP/80 from shop/gateway (10.244.1.10) to Service shop/web (10.96.0.10), and on to",
      ),
    ]);
  });

  it("judges other ports of an external address by the address: it may be a node's", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wt-trace-"));
    try {
      const service = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.10, externalIPs: [192.0.2.7], ports: [{ name: http, port: 80, targetPort: 8080 }] }
`;
      writeFileSync(join(directory, "service.yaml"), service);
      const at = (port: string) =>
        trace(`--from shop/gateway --to 192.0.2.7 --port ${port} -f ${directory}/service.yaml`);
      expect((await at("22")).stdout).toMatch(
        /^allowed \(as before\): TCP\/22 from shop\/gateway \(10.244.1.10\) to 192.0.2.7$/m,
      );
      expect((await at("80")).stdout).toMatch(/ to Service shop\/web \(192.0.2.7\)/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it("shows the verdict on an external address itself, where that is denied", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wt-trace-"));
    try {
      const change = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  clusterIP: 10.96.0.10
  externalIPs: [192.0.2.7]
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: one, namespace: shop }
spec:
  podSelector: { matchLabels: { app: gateway } }
  policyTypes: [Egress]
  egress: [{ to: [{ podSelector: { matchLabels: { app: web } } }] }]
`;
      writeFileSync(join(directory, "change.yaml"), change);
      const to = (address: string, ...more: readonly string[]) =>
        trace([`--from shop/gateway --to ${address} --port 80 -f ${directory}`, ...more].join(" "));
      expect((await to("10.96.0.10")).exitCode).toBe(0);
      const { exitCode, stdout } = await to("192.0.2.7");
      expect(exitCode).toBe(3);
      expect(
        stdout,
      ).toContain(`  Service shop/web: nothing leaves the client, as the external address itself is denied
  egress of shop/gateway to 192.0.2.7 itself: isolated by shop/one; no rule matches
`);
      expect(stdout).not.toContain("could not drop it");
      const json = JSON.parse((await to("192.0.2.7", "-o json")).stdout);
      expect(json.paths[0]).toMatchObject({
        allowed: false,
        egress: { verdict: "allowed" },
        via: { leaves: false, itself: { verdict: "denied", isolatedBy: [{ policy: "shop/one" }] } },
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  describe("through a Service with some allowed backends", () => {
    let directory: string;
    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "wt-trace-"));
    });
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: one, namespace: shop }
spec:
  podSelector: { matchLabels: { app: gateway } }
  policyTypes: [Egress]
  egress: [{ to: [{ ipBlock: { cidr: 10.244.1.11/32 } }] }]
`;
    const changed = (text: string) => {
      writeFileSync(join(directory, "change.yaml"), text);
      return trace(`--from shop/gateway --to shop/web --port 80 -f ${directory}`);
    };

    it("reports that the end of the denied ones drops what comes", async () => {
      const { exitCode, stdout } = await changed(policy);
      expect(exitCode).toBe(3);
      expect(stdout).toMatch(/^allowed \(as before\): .* and on to shop\/web-1 /m);
      expect(stdout).toMatch(/^denied \(allowed before\): .* and on to shop\/web-2 /m);
      expect(stdout).toContain(
        "  Service shop/web: other backends are allowed; this one's end drops what comes from this client\n",
      );
    });

    it("reports that nothing leaves if that end is elsewhere", async () => {
      const slice = `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-a, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080, protocol: TCP }]
endpoints: [{ addresses: [10.244.1.11] }, { addresses: [203.0.113.9] }]
`;
      const { exitCode, stdout } = await changed(policy + slice);
      expect(exitCode).toBe(3);
      expect(stdout).toContain(
        "  Service shop/web: nothing leaves the client, as a backend that is denied could not drop it\n",
      );
      expect(stdout).not.toMatch(/^allowed/m);
    });

    describe("whose backends are too many, so that they are not known", () => {
      const many = (count: number, each: (index: number) => string): string =>
        Array.from({ length: count }, (_, index) => each(index)).join(", ");
      const ports = many(800, (index) => `{ name: p${index}, port: ${1 + index} }`);
      const addresses = many(700, (index) => `{ addresses: [10.250.${index >> 8}.${index & 255}] }`);
      const large = `---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.10, ports: [${ports}] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-a, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [${ports}]
endpoints: [${addresses}]
`;
      const service = "TCP/80 from shop/gateway (10.244.1.10) to Service shop/web (10.96.0.10)";
      const reason = "  Service shop/web: beyond its namespace's share, so its backends are not known:";

      it("reports why nothing leaves, with the policies that isolate", async () => {
        const { exitCode, stdout } = await changed(policy + large);
        expect(exitCode).toBe(3);
        expect(stdout).toBe(`denied: ${service}
${reason} denied to each client to which something can be denied
  egress of shop/gateway: isolated by shop/one
`);
      });

      it("reports that it is not denied to a client to which nothing can be", async () => {
        const { exitCode, stdout } = await changed(large);
        expect(exitCode).toBe(0);
        expect(stdout).toBe(`allowed: ${service}
${reason} nothing can be denied to this client
  egress of shop/gateway: not isolated
`);
      });
    });

    it("reports that there is no backend", async () => {
      const service = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.10, selector: { app: none }, ports: [{ port: 80 }] }
`;
      const { exitCode, stdout } = await changed(service);
      expect(exitCode).toBe(3);
      expect(stdout).toBe(`denied: TCP/80 from shop/gateway (10.244.1.10) to Service shop/web (10.96.0.10)
  Service shop/web: it has no backend
  egress of shop/gateway: not isolated
`);
    });
  });
});
