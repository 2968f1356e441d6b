// JSON cut down before it is parsed: the wanted fields are as JSON.parse has them, and objects are read as if they were whole.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openCrowd } from "../../../../bench/scale/crowd.ts";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";
import { openTrimmer, shared, type Wanted } from "../../../../src/source/apiserver/json-trim.ts";
import {
  KINDS,
  type Kind,
  PARSERS,
  readItem,
  SERVED,
} from "../../../../src/source/apiserver/resource-kinds.ts";
import { eventOf } from "../../../../src/source/apiserver/watch-request.ts";

/** Maps of fields, without shared ones. */
interface Plain {
  readonly [name: string]: true | Plain;
}
const WANTED: Plain = { a: true, b: { c: true, d: { e: true } }, "x/*": true, é: true };

/** What the trimmer should leave of a parsed value. */
function cut(value: unknown, wanted: Plain | true | undefined): unknown {
  if (wanted === true || wanted === undefined || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((each) => cut(each, wanted));
  const entries = Object.entries(value).flatMap(([key, each]) => {
    const escaped = JSON.stringify(key).includes("\\");
    const prefix = Object.keys(wanted).find(
      (name) => name.endsWith("*") && key.startsWith(name.slice(0, -1)),
    );
    const below = Object.hasOwn(wanted, key)
      ? wanted[key]
      : prefix === undefined
        ? undefined
        : wanted[prefix];
    return below === undefined && !escaped ? [] : [[key, cut(each, below)] as const];
  });
  return Object.fromEntries(entries);
}

/** The same. */
const SHARING: Wanted = {
  ...WANTED,
  a: shared(true),
  b: { c: shared(true), d: shared({ e: true }) },
};

const bytesOf = (text: string): Uint8Array => Buffer.from(text);

/** Without a backslash: V8 13.6 reads the key "\"" as "\\" once it has parsed a map with that key at the same place. */
const keys = fc
  .oneof(
    fc.constantFrom("a", "b", "c", "d", "e", "x/", "x/1", "x", "é", "aa", "", "\n", '"', "{", "__proto__"),
    fc.string({ unit: "grapheme" }),
  )
  .filter((key) => !key.includes("\\"));
const texts = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.constantFrom("]", "}", '"', '\\"', "\\", "{[", "\u2028", "x".repeat(200)),
);
const values = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "medium" },
    texts,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(null, true, false),
    fc.array(tie("any"), { maxLength: 4 }),
    tie("map"),
  ),
  map: fc.dictionary(keys, tie("any"), { maxKeys: 6, noNullPrototype: true }),
}));

describe("the trimmer", () => {
  it("leaves what is wanted, however the text is spaced", () => {
    const trim = openTrimmer(WANTED);
    fc.assert(
      fc.property(values["any"], fc.constantFrom(undefined, 1, "\t", "\r\n "), (value, space) => {
        const parsed = JSON.parse(JSON.stringify(value));
        expect(trim(bytesOf(JSON.stringify(value, null, space)))).toEqual(cut(parsed, WANTED));
      }),
      { numRuns: 2_000 },
    );
  });

  it("leaves the same where values are shared", () => {
    const trim = openTrimmer(SHARING);
    const simple = fc.oneof(
      fc.constantFrom<unknown>(0, 1, 2, -0, 1e3, "0", "x".repeat(1_100), null, true, [], {}, [1], { e: 0 }),
      values["any"],
    );
    const map = fc.record({ a: simple, b: fc.record({ c: simple, d: simple }) }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.oneof(values["any"], map, fc.array(map)), (value) => {
        const parsed = JSON.parse(JSON.stringify(value));
        expect(trim(bytesOf(JSON.stringify(value)))).toEqual(cut(parsed, WANTED));
      }),
      { numRuns: 2_000 },
    );
    for (const text of ['{"\\u0061":1,"b":{"c":[7]}}', '{"b":{"\\u0063":0},"a":[7]}', '{"a":[7],"a":0}'])
      expect(trim(bytesOf(text))).toEqual(JSON.parse(text));
    const number = `0.${"0".repeat(1_100)}`;
    expect(trim(bytesOf(`{"a":[7],"b":{"c":${number}}}`))).toEqual({ a: [7], b: { c: 0 } });
  });

  it("gives one object for shared values with equal texts", () => {
    const trim = openTrimmer(SHARING);
    const read = (text: string) => trim(bytesOf(text)) as { a: unknown; b: { d: unknown } };
    const one = read('{"a":{"x":1},"b":{"d":{"e":1,"z":1}},"n":1}');
    const other = read('{"a":{"x":1},"b":{"d":{"e":1}},"n":2}');
    expect(other.a).toBe(one.a);
    expect(other.b.d).toBe(one.b.d);
    const third = read('{"a":{"x":2},"b":{"d":{"e":1}}}');
    expect(third.a).toEqual({ x: 2 });
    expect(() => read('{"a":{"x":2')).toThrow(SyntaxError);
    expect(read('{"a":{"x":2}}').a).toBe(third.a);
  });

  it.each(['{"a":1]', '{"a":[1,]}', '{"a":{"x" 1}}', '{"a":01}', '{"b":{"c":}}'])("refuses %s", (text) => {
    expect(() => openTrimmer(SHARING)(bytesOf(text))).toThrow(SyntaxError);
  });

  it("refuses a text that is cut off, wherever", () => {
    const trim = openTrimmer(WANTED);
    const text = JSON.stringify({ a: ["]", { z: '"\\' }], n: [1, { m: "}" }], b: { c: 1.5, q: null } });
    for (let end = 0; end < text.length; end += 1)
      expect(() => trim(bytesOf(text.slice(0, end))), text.slice(0, end)).toThrow(SyntaxError);
    expect(trim(bytesOf(text))).toEqual({ a: ["]", { z: '"\\' }], b: { c: 1.5 } });
  });

  it.each([
    "{}}",
    "{} {}",
    '{"a":1,}',
    '{"a" 1}',
    '{"a":}',
    "{a:1}",
    '{"n":}',
    '{"b":[1 2]}',
    '{"b":{"c":01}}',
    "[1,]",
    '{"n":[1}}',
    '{"n":{"x":{"a":[1},"b":{"y":[2]}]}}',
  ])("refuses %s", (text) => {
    expect(() => openTrimmer(WANTED)(bytesOf(text))).toThrow(SyntaxError);
  });

  it("refuses what is not UTF-8 where it is kept", () => {
    const trim = openTrimmer(WANTED);
    expect(() => trim(Buffer.from('{"a":"\xff"}', "latin1"))).toThrow(TypeError);
    expect(trim(Buffer.from('{"n":"\xff","a":1}', "latin1"))).toEqual({ a: 1 });
  });

  it("keeps a key that is written with escapes, and the last of several equal ones", () => {
    const trim = openTrimmer(WANTED);
    expect(trim(bytesOf('{"\\u0061":1}'))).toEqual({ a: 1 });
    expect(trim(bytesOf('{"a":1,"n":2,"a":3}'))).toEqual({ a: 3 });
  });

  it("gives the memory of a large text back", () => {
    const trim = openTrimmer(WANTED);
    const large = { a: "x".repeat(3 << 20) };
    expect(trim(bytesOf(JSON.stringify(large)))).toEqual(large);
    expect(trim(bytesOf('{"a":1}'))).toEqual({ a: 1 });
  });
});

/** Texts of every kind, as an API server has them. */
function objectsOf(kind: Kind): string[] {
  const found: string[] = [];
  const crowd = openCrowd(
    { pods: 400, policies: 30, locals: 5, seed: 3 },
    {
      put: (of, make) => void (of === kind && found.push(make(found.length + 1).text())),
      remove: () => undefined,
    },
  );
  crowd.churn(600);
  return found;
}

/** The fields besides those of the benchmark's objects that matter. */
const MORE: Readonly<Record<Kind, readonly object[]>> = {
  Namespace: [
    { metadata: { name: "a", labels: { "weir.dev/mode": "audit" }, annotations: { x: "y" } } },
    { metadata: { name: "a", labels: { "weir.dev/mode": "surprise" } }, status: { phase: "Active" } },
  ],
  NetworkPolicy: [{ metadata: { name: "a", namespace: "b" }, spec: { podSelector: {}, surprise: 1 } }],
  ClusterNetworkPolicy: [
    {
      metadata: { name: "a", labels: { x: "y" } },
      spec: {
        tier: "Baseline",
        priority: 7,
        subject: { pods: { podSelector: {} } },
        egress: [
          {
            name: "dns",
            action: "Accept",
            to: [{ namespaces: {} }],
            protocols: [{ udp: { destinationPort: { number: 53 } } }],
          },
        ],
      },
      status: { conditions: [] },
    },
  ],
  Pod: [
    {
      metadata: {
        name: "a",
        namespace: "b",
        deletionTimestamp: "2026-01-01T00:00:00Z",
        annotations: {
          "weir.dev/interface": "veth1",
          "weir.dev/allowed-sources": "10.8.0.0/16",
          "weir.dev/allowed-macs": "52:54:00:12:34:56",
          "weir.dev/unheard-of": "x",
          "kubernetes.io/config.mirror": "4711",
          other: "x",
        },
      },
      spec: {
        hostNetwork: true,
        containers: [{ name: "c", ports: [{ containerPort: 80, name: "http" }, { containerPort: 0 }] }],
        initContainers: [
          { restartPolicy: "Always", ports: [{ containerPort: 81 }] },
          { ports: [{ containerPort: 82 }] },
        ],
      },
      status: { phase: "Failed", podIPs: [{ ip: "10.0.0.1" }, { ip: "fd00::1" }], podIP: "10.0.0.1" },
    },
    { metadata: { name: "a", namespace: "b" }, spec: [], status: { podIPs: "no list", phase: 7 } },
    { metadata: { name: "a", namespace: "b", labels: ["x"] }, spec: { containers: {}, hostNetwork: "yes" } },
  ],
  Service: [
    {
      metadata: { name: "a", namespace: "b", labels: { "service.kubernetes.io/headless": "" } },
      spec: { clusterIP: "10.0.0.1", externalIPs: ["1.2.3.4"], ports: [{ port: 80 }], selector: { a: "b" } },
      status: { loadBalancer: { ingress: [{ ip: "5.6.7.8", ipMode: "VIP" }] } },
    },
  ],
  EndpointSlice: [
    {
      metadata: { name: "a", namespace: "b", labels: { "kubernetes.io/service-name": "s" } },
      addressType: "IPv6",
      endpoints: [
        { addresses: ["fd00::1"], nodeName: "n", topology: { "kubernetes.io/hostname": "h" }, zone: "z" },
        { addresses: [], conditions: { ready: false } },
      ],
      ports: [{ port: 80, name: "http", protocol: "UDP", appProtocol: "x" }],
    },
  ],
  Node: [
    {
      metadata: { name: "a" },
      spec: { podCIDRs: ["10.0.0.0/24", "nothing"], providerID: "x" },
      status: {
        addresses: [
          { type: "ExternalIP", address: "1.2.3.4" },
          { type: "InternalIP", address: 7 },
        ],
      },
    },
  ],
};

describe.each(KINDS)("of a %s", (kind) => {
  const reader = () => ({ kind, served: SERVED[kind][0], node: "node-0", interner: openInterner() });

  it("all is read that is read of the whole", () => {
    const found = [...objectsOf(kind), ...MORE[kind].map((object) => JSON.stringify(object))];
    // The benchmark has no cluster policies.
    expect(found.length).toBeGreaterThan(kind === "ClusterNetworkPolicy" ? 0 : MORE[kind].length);
    for (const text of found) {
      const whole = readItem(JSON.parse(text), reader());
      expect(readItem(PARSERS[kind].item(bytesOf(text)), reader())).toEqual(whole);
      const event = eventOf(bytesOf(`{"type":"ADDED","object":${text}}`), PARSERS[kind].event, "/");
      expect(event.type === "ADDED" && readItem(event.object, reader())).toEqual(whole);
    }
  });

  it("bookmarks and errors are read", () => {
    const metadata = { resourceVersion: "7", annotations: { "k8s.io/initial-events-end": "true" } };
    const bookmark = bytesOf(JSON.stringify({ type: "BOOKMARK", object: { kind, metadata } }));
    expect(eventOf(bookmark, PARSERS[kind].event, "/")).toEqual({
      type: "BOOKMARK",
      version: "7",
      initialEnd: true,
    });
    const status = { kind: "Status", metadata: {}, status: "Failure", code: 410, message: "too old" };
    const error = bytesOf(JSON.stringify({ type: "ERROR", object: status }));
    expect(() => eventOf(error, PARSERS[kind].event, "/")).toThrow("too old");
  });
});
