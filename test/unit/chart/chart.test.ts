// The Helm chart: it renders with many values, its schema refuses wrong ones, and the files generated from it are up to date.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { OPTIONS } from "../../../src/cli/config/config-options.ts";
import { listenOf } from "../../../src/cli/config/config-schema.ts";
import { CONTAINER, SELECTOR } from "../../../src/cli/plugin/agent-pods.ts";
import { agentManifest, cleanupManifest } from "../../../tools/chart/manifests.ts";
import {
  agentPod,
  findObject,
  objectsOf,
  type PodSpec,
  podOf,
  renderChart,
} from "../../../tools/chart/render.ts";
import { CHART_SAMPLES } from "../../../tools/chart/samples.ts";
import { chartSchemaText } from "../../../tools/config/chart-values.ts";
import { ROOT, runIn } from "../cli/world.ts";

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const VALUES = parse(read("deploy/helm/weir/values.yaml"));

const variablesOf = (pod: PodSpec): Record<string, string | undefined> =>
  Object.fromEntries((pod.containers[0].env ?? []).map(({ name, value }) => [name, value]));

describe("the chart", () => {
  it.each(Object.entries(CHART_SAMPLES))("renders: %s", (_, rendering) => {
    const objects = objectsOf(renderChart(rendering));
    const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
    const ofCluster = ["ClusterRole", "ClusterRoleBinding"];
    for (const { apiVersion, kind, metadata } of objects) {
      expect(apiVersion).toMatch(/^[a-z0-9./]+$/);
      expect(metadata.namespace).toBe(
        ofCluster.includes(kind) ? undefined : (rendering.namespace ?? "kube-system"),
      );
    }
    for (const object of objects.filter(({ kind }) => kind === "DaemonSet")) {
      const pod = podOf(object);
      for (const { volumeMounts } of [...pod.containers, ...(pod.initContainers ?? [])])
        for (const { name } of volumeMounts ?? [])
          expect(pod.volumes.map((volume) => volume.name)).toContain(name);
    }
  });

  it("gives the agent no more than it needs", () => {
    const { securityContext } = agentPod([]).containers[0];
    expect(securityContext).toEqual({
      runAsUser: 0,
      runAsGroup: 0,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"], add: ["BPF", "NET_ADMIN", "NET_BROADCAST", "PERFMON"] },
      seccompProfile: { type: "RuntimeDefault" },
      appArmorProfile: { type: "Unconfined" },
    });
    const cni = agentPod(["cni.enabled=true"]).containers[0].securityContext;
    expect(cni.capabilities?.add).toEqual(expect.arrayContaining(["DAC_OVERRIDE", "FOWNER", "CHOWN"]));
  });

  it("uses annotations on older clusters where newer ones have a field", () => {
    const { spec } = findObject(
      objectsOf(renderChart({ kubeVersion: "v1.29.9" })),
      "DaemonSet",
      "weir",
    ) as unknown as {
      spec: { template: { metadata: { annotations: Record<string, string> }; spec: PodSpec } };
    };
    expect(spec.template.metadata.annotations["container.apparmor.security.beta.kubernetes.io/weir"]).toBe(
      "unconfined",
    );
    expect(spec.template.spec.containers[0].securityContext).not.toHaveProperty("appArmorProfile");
  });

  it.each([
    [[], "127.0.0.1:9469"],
    [["metrics.address="], ":9469"],
    [["metrics.address=::1", "metrics.port=80"], "[::1]:80"],
  ])("has the agent listen for Prometheus as the values say: %j", (set, listen) => {
    expect(variablesOf(agentPod(set))["WEIR_METRICS_LISTEN"]).toBe(listen);
    expect(listenOf(listen)).toBeDefined();
  });

  it.each([
    [[], 9470],
    [["probes.port=7000", "metrics.address="], 7000],
  ])("has probes on loopback, on a port of their own: %j", (set, port) => {
    const pod = agentPod(set);
    expect(variablesOf(pod)["WEIR_PROBE_LISTEN"]).toBe(`127.0.0.1:${port}`);
    const [container] = pod.containers;
    expect(container.ports).toContainEqual({ name: "probes", containerPort: port, protocol: "TCP" });
    for (const kind of ["startupProbe", "livenessProbe", "readinessProbe"] as const)
      expect(container[kind]?.httpGet).toMatchObject({ host: "127.0.0.1", port: "probes" });
  });

  it("names no variable that is unknown to the agent", () => {
    const known = OPTIONS.map(({ variable }) => variable);
    for (const { set = [] } of Object.values(CHART_SAMPLES))
      for (const name of Object.keys(variablesOf(agentPod(set)))) expect(known).toContain(name);
  });

  it("refuses a loopback address for Prometheus", () => {
    for (const set of ["metrics.podMonitor.enabled=true", "metrics.service.enabled=true"])
      expect(() => renderChart({ set: [set] })).toThrow("metrics.address is a loopback address");
  });

  it.each([
    [[], undefined],
    [["config.historyDir=/run/weir/history"], undefined],
    [["config.historyDir=/var/lib/weir/history"], "/var/lib/weir/history"],
  ])("mounts a directory of the history that is not in /run/weir: %j", (set, path) => {
    const pod = agentPod(set);
    const mount = pod.containers[0].volumeMounts?.find(({ name }) => name === "history");
    expect(mount).toEqual(path === undefined ? undefined : { name: "history", mountPath: path });
    const volume = pod.volumes.find(({ name }) => name === "history");
    const hostPath = { path, type: "DirectoryOrCreate" };
    expect(volume).toEqual(path === undefined ? undefined : { name: "history", hostPath });
  });

  it("refuses a relative path for the history", () => {
    expect(() => renderChart({ set: ["config.historyDir=history"] })).toThrow("is not an absolute path");
  });

  it("has the version of the package", () => {
    const { version } = JSON.parse(read("package.json")) as { version: string };
    expect(parse(read("deploy/helm/weir/Chart.yaml"))).toMatchObject({ version, appVersion: version });
  });
});

describe("the chart's configuration", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-chart-"));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it.each([
    [[], /^mode: "enforce"/m],
    [CHART_SAMPLES["audit mode"]?.set ?? [], /^mode: "audit"[^\n]*\n(?:.*\n)*eventsFileSize: 20 /m],
  ])("is read by the agent: %j", async (set, expected) => {
    const map = findObject(objectsOf(renderChart({ set })), "ConfigMap", "weir");
    const file = join(directory, "config.yaml");
    writeFileSync(file, (map["data"] as Record<string, string>)["config.yaml"] ?? "");
    const { exitCode, stdout, stderr } = await runIn(["run", "--config", file, "--print-config"]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(expected);
  });

  it("has the denied prefixes in a file of their own", () => {
    const objects = objectsOf(renderChart(CHART_SAMPLES["uplinks"] ?? {}));
    expect(findObject(objects, "ConfigMap", "weir")["data"]).toMatchObject({
      "deny-cidrs.txt": "192.0.2.0/24\n2001:db8::/32\n",
    });
    expect(variablesOf(podOf(findObject(objects, "DaemonSet", "weir")))).toMatchObject({
      WEIR_UPLINK: "eth0,eth1",
      WEIR_DENY_CIDRS: "/etc/weir/deny-cidrs.txt",
    });
  });
});

describe("values.schema.json", () => {
  const text = read("deploy/helm/weir/values.schema.json");
  const valid = new Ajv({ strict: false }).compile(JSON.parse(text));

  it("matches the schema of the configuration (node tools/config.ts writes it)", () => {
    expect(text).toBe(chartSchemaText());
  });

  it("accepts the chart's own values", () => {
    expect(valid(VALUES), JSON.stringify(valid.errors)).toBe(true);
  });

  it.each([
    ["config", { mode: "loud" }, "/config/mode"],
    ["config", { metricsListen: ":1" }, "/config"],
    ["config", { eventsFileSize: 0 }, "/config/eventsFileSize"],
    ["metrics", { ...VALUES.metrics, port: 0 }, "/metrics/port"],
    ["metrics", { ...VALUES.metrics, address: "localhost" }, "/metrics/address"],
    ["uplinks", { interfaces: ["eth0"], denyCidrs: ["everyone"] }, "/uplinks/denyCidrs/0"],
    ["cni", { ...VALUES.cni, binDir: "opt/cni/bin" }, "/cni/binDir"],
    ["image", { ...VALUES.image, digest: "sha256:1" }, "/image/digest"],
    ["image", { ...VALUES.image, repository: "" }, "/image/repository"],
    ["tolerations", {}, "/tolerations"],
    ["nosuch", 1, ""],
  ])("refuses %s: %j", (key, value, place) => {
    expect(valid({ ...VALUES, [key]: value })).toBe(false);
    expect(valid.errors?.map(({ instancePath }) => instancePath)).toContain(place);
  });
});

describe("the plain manifests", () => {
  const plain = (text: string): unknown => objectsOf(text);

  it("are what the chart renders to (node tools/manifests.ts writes them)", () => {
    expect(plain(read("deploy/weir.yaml"))).toEqual(plain(agentManifest()));
    expect(plain(read("deploy/weir-cleanup.yaml"))).toEqual(plain(cleanupManifest()));
  });

  it("have the labels and the container by which kubectl weir finds the agents", () => {
    const { template } = findObject(objectsOf(read("deploy/weir.yaml")), "DaemonSet", "weir")[
      "spec"
    ] as unknown as {
      readonly template: {
        readonly metadata: { readonly labels: Readonly<Record<string, string>> };
        readonly spec: PodSpec;
      };
    };
    const { metadata, spec } = template;
    const labels = SELECTOR.split(",").map((each) => each.split("=") as [string, string]);
    expect(metadata.labels).toMatchObject(Object.fromEntries(labels));
    expect(spec.containers.map(({ name }) => name)).toContain(CONTAINER);
  });

  it("can be waited for: `kubectl rollout status` refuses a DaemonSet with OnDelete", () => {
    const [cleanup] = objectsOf(read("deploy/weir-cleanup.yaml"));
    expect(cleanup).toMatchObject({ kind: "DaemonSet", spec: { updateStrategy: { type: "RollingUpdate" } } });
  });

  it("are without Helm's own fields", () => {
    for (const file of ["deploy/weir.yaml", "deploy/weir-cleanup.yaml"])
      expect(read(file)).not.toMatch(/helm\.sh|Helm$/m);
  });
});
