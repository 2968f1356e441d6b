// Services and EndpointSlices, as API servers write them and with common mistakes.

import { describe, expect, test } from "vitest";
import type { EndpointSlice, Service } from "../../../../src/model/service.ts";
import { linesOf, problemsIn, readingOf } from "../support.ts";

const texts = (addresses: readonly { text: string }[]) => addresses.map(({ text }) => text);

function serviceOf(text: string) {
  const reading = readingOf(text);
  const service = reading.objects[0]?.value as Service | undefined;
  return {
    lines: linesOf(problemsIn(reading)),
    service: service && {
      ...service,
      clusterIps: texts(service.clusterIps),
      externalIps: texts(service.externalIps),
      loadBalancerIps: texts(service.loadBalancerIps),
      selector: service.selector && Object.fromEntries(service.selector),
    },
  };
}

function sliceOf(text: string) {
  const reading = readingOf(text);
  const slice = reading.objects[0]?.value as EndpointSlice | undefined;
  return {
    lines: linesOf(problemsIn(reading)),
    slice: slice && {
      ...slice,
      endpoints: slice.endpoints.map((each) => ({ ...each, address: each.address.text })),
    },
  };
}

const service = (spec: string, rest = "") =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\nspec: ${spec}\n${rest}\n`;

const slice = (rest: string) =>
  `apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: web-1, namespace: shop, labels: { kubernetes.io/service-name: web } }\n${rest}\n`;

describe("Services", () => {
  test("as the API server writes them", () => {
    const { lines, service: web } = serviceOf(`
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop, uid: 1-2, labels: { app: web } }
spec:
  allocateLoadBalancerNodePorts: true
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "FD00:0::10"]
  externalIPs: [198.51.100.9]
  externalTrafficPolicy: Cluster
  internalTrafficPolicy: Cluster
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: PreferDualStack
  ports:
  - { name: http, nodePort: 30080, port: 80, protocol: TCP, targetPort: web }
  - { name: dns, port: 53, protocol: UDP, targetPort: 5353 }
  - { name: dns-tcp, port: 53, protocol: TCP }
  selector: { app: web }
  sessionAffinity: ClientIP
  type: LoadBalancer
status: { loadBalancer: { ingress: [{ ip: 203.0.113.5, ipMode: VIP }, { ip: 203.0.113.6, ipMode: Proxy }, { hostname: lb.example }] } }
`);
    expect(lines).toEqual([]);
    expect(web).toEqual({
      namespace: "shop",
      name: "web",
      clusterIps: ["10.96.0.10", "fd00::10"],
      externalIps: ["198.51.100.9"],
      loadBalancerIps: ["203.0.113.5"],
      ports: [
        { name: "http", protocol: "TCP", port: 80, target: "web" },
        { name: "dns", protocol: "UDP", port: 53, target: 5353 },
        { name: "dns-tcp", protocol: "TCP", port: 53, target: 53 },
      ],
      selector: { app: "web" },
      onlyLocal: false,
    });
  });

  test.each([
    ["headless", "{ clusterIP: None, externalIPs: [198.51.100.9], ports: [{ port: 80 }] }"],
    ["headless by the list", "{ clusterIPs: [None], ports: [{ port: 80 }] }"],
    ["ExternalName", "{ type: ExternalName, externalName: a.example, externalIPs: [198.51.100.9] }"],
  ])("have no address if they are %s", (_, spec) => {
    const { lines, service: web } = serviceOf(service(spec));
    expect(lines).toEqual([]);
    expect(web).toMatchObject({ clusterIps: [], externalIps: [], loadBalancerIps: [] });
  });

  test.each(["service-proxy-name: other", 'headless: ""'])(
    "have no address if kube-proxy leaves them to others (%s)",
    (label) => {
      const text = service("{ clusterIP: 10.96.0.10, externalIPs: [198.51.100.9], ports: [{ port: 80 }] }");
      const labels = `labels: { service.kubernetes.io/${label} }`;
      const { lines, service: web } = serviceOf(text.replace("shop }", `shop, ${labels} }`));
      expect(lines).toEqual([]);
      expect(web).toMatchObject({ clusterIps: [], externalIps: [], loadBalancerIps: [] });
    },
  );

  test("before an address is assigned, without a selector, on the same node only", () => {
    const { lines, service: web } = serviceOf(
      service("{ internalTrafficPolicy: Local, selector: {}, ports: [{ port: 80, targetPort: 0 }] }"),
    );
    expect(lines).toEqual([]);
    expect(web).toMatchObject({ clusterIps: [], selector: undefined, onlyLocal: true });
    expect(web?.ports).toEqual([{ name: "", protocol: "TCP", port: 80, target: 80 }]);
  });

  test("with an error: the rest counts", () => {
    const { lines, service: web } = serviceOf(
      service(
        "{ clusterIP: 10.96.0.300, externalIPs: x, ports: [{ port: 0 }, { port: 80, protocol: HTTP }, 7, { port: 443 }, { port: 443, name: b }] }",
      ),
    );
    expect(lines).toHaveLength(6);
    expect(lines[0]).toMatch(/Service shop\/web: spec\.clusterIP: "10\.96\.0\.300" is not a valid address/);
    expect(lines[0]).toMatch(/the address is treated as no Service's$/);
    expect(web?.ports.map(({ port }) => port)).toEqual([443, 443]);
  });

  test("of another group are ignored", () => {
    expect(
      readingOf("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: { name: x }\n"),
    ).toMatchObject({
      objects: [],
      problems: [],
    });
  });
});

describe("EndpointSlices", () => {
  test("as the API server writes them", () => {
    const { lines, slice: web } = sliceOf(
      slice(`
addressType: IPv4
endpoints:
- addresses: [10.244.1.10, 10.244.1.99]
  conditions: { ready: true, serving: true, terminating: false }
  hints: { forZones: [{ name: a }] }
  nodeName: node-1
  targetRef: { kind: Pod, name: web-1, namespace: shop }
  zone: a
- { addresses: [10.244.2.11], conditions: { ready: false, serving: true, terminating: true } }
- { addresses: [10.244.2.12] }
ports:
- { name: http, port: 8080, protocol: TCP }
- { name: "", port: 5353, protocol: UDP, appProtocol: dns }
- { name: all }
`),
    );
    expect(lines).toEqual([]);
    expect(web).toEqual({
      namespace: "shop",
      name: "web-1",
      service: "web",
      family: 4,
      ports: [
        { name: "http", protocol: "TCP", port: 8080 },
        { name: "", protocol: "UDP", port: 5353 },
      ],
      endpoints: [
        { address: "10.244.1.10", ready: true, serving: true, terminating: false, node: "node-1" },
        { address: "10.244.2.11", ready: false, serving: true, terminating: true },
        { address: "10.244.2.12", ready: true, serving: true, terminating: false },
      ],
    });
  });

  test("of names have no endpoints, and one without the label no Service", () => {
    const names = sliceOf(slice("addressType: FQDN\nendpoints: [{ addresses: [a.example] }]"));
    expect(names.lines).toEqual([]);
    expect(names.slice?.endpoints).toEqual([]);
    const { slice: alone } = sliceOf(
      "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: x }\naddressType: IPv6\nendpoints: null",
    );
    expect(alone).toMatchObject({ namespace: "default", service: undefined, family: 6, endpoints: [] });
  });

  test("of another proxy than kube-proxy, or of a headless Service: belongs to no Service", () => {
    for (const label of [
      "service.kubernetes.io/service-proxy-name: other",
      'service.kubernetes.io/headless: ""',
    ]) {
      const { lines, slice: other } = sliceOf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-x, namespace: shop, labels: { kubernetes.io/service-name: web, ${label} } }
addressType: IPv4
endpoints: [{ addresses: [10.0.0.1] }]
ports: [{ port: 80 }]
`);
      expect([lines, other?.service, other?.endpoints.length]).toEqual([[], undefined, 1]);
    }
  });

  test("with an error: the rest counts, except for a slice of unknown addresses", () => {
    const { lines, slice: web } = sliceOf(
      slice(
        'addressType: IPv4\nendpoints: [{ addresses: ["fd00::1"] }, { addresses: [] }, {}, { addresses: [10.0.0.1], conditions: { ready: "yes" } }]\nports: [{ port: 70000 }]',
      ),
    );
    expect(lines).toHaveLength(5);
    expect(lines.join("\n")).toMatch(
      /endpoints\[0\]\.addresses\[0\]: "fd00::1" is not an IPv4 address; the endpoint is ignored/,
    );
    expect(web?.endpoints.map(({ address, ready }) => [address, ready])).toEqual([["10.0.0.1", true]]);
    expect(sliceOf(slice("addressType: IPv5")).slice).toBeUndefined();
  });
});
