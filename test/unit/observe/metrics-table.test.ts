// The metrics: their names by Prometheus' rules, and code, documentation and the files of deploy/ that agree on them.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import {
  REASON_NAMES,
  REASON_TEXTS,
  Reason,
  SCREENED_NAMES,
  SCREENED_TEXTS,
  Screened,
} from "../../../src/gen/layout.ts";
import { openMetrics } from "../../../src/observe/metrics-registry.ts";
import { METRICS, type MetricSpec } from "../../../src/observe/metrics-table.ts";
import { ROOT } from "../cli/world.ts";

const SPECS: readonly MetricSpec[] = Object.values(METRICS);
const fileText = (path: string): string => readFileSync(join(ROOT, path), "utf8");

/** Names in a scrape: a histogram has three. */
const EXPORTED = new Set(
  SPECS.flatMap(({ name, kind }) =>
    kind === "histogram" ? ["_bucket", "_sum", "_count"].map((suffix) => name + suffix) : [name],
  ),
);
const LABELS = new Map(SPECS.map(({ name, labels }) => [name, labels]));

describe("names", () => {
  it.each(SPECS.map((spec) => [spec.name, spec] as const))(
    "%s follows Prometheus' conventions",
    (name, spec) => {
      // prometheus.io/docs/practices/naming, as promtool's linter reads it.
      expect(name).toMatch(/^(weir|process|nodejs)(_[a-z]+)+$/);
      expect(name.endsWith("_total")).toBe(spec.kind === "counter");
      expect(name).not.toMatch(
        /_(milliseconds|minutes|kilobytes|megabytes|percent|count|sum|bucket|gauge|counter)$/,
      );
      if (spec.kind === "histogram") expect(name).toMatch(/_seconds$/);
      expect(spec.help).toMatch(/^(\p{Lu}|1,)/u);
      expect(spec.help).not.toMatch(/\.$/);
      for (const label of spec.labels) {
        expect(label).toMatch(/^[a-z]+$/);
        expect(name).not.toContain(`_by_${label}`);
      }
    },
  );

  it("are each of one metric", () => {
    expect(new Set(SPECS.map(({ name }) => name)).size).toBe(SPECS.length);
  });

  it("include no pods and addresses", () => {
    const labels = new Set(SPECS.flatMap(({ labels }) => labels));
    for (const label of ["pod", "address", "ip", "interface", "ifindex"]) expect(labels).not.toContain(label);
  });
});

describe("docs/metrics.md", () => {
  it("has the table of the code", () => {
    const rows = [...fileText("docs/metrics.md").matchAll(/^\| `([^`]+)` \| (\w+) \| (.*?)\| (.*) \|$/gm)];
    expect(
      rows.map(([, name, kind, labels = "", help]) => ({
        name,
        kind,
        labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
        help,
      })),
    ).toEqual(SPECS.map(({ name, kind, labels, help }) => ({ name, kind, labels, help })));
  });

  it("has the reasons of bpf/layout.h, in its words", () => {
    const rows = [...fileText("docs/metrics.md").matchAll(/^\| `([^`]+)` \| (\w+) \| ([^|]+) \|$/gm)];
    const reasons = Object.entries(REASON_NAMES).map(([number, name]) => [
      name,
      Number(number) >= Reason.DROPS ? "dropped" : Number(number) === Reason.AUDIT ? "audit" : "passed",
      REASON_TEXTS[Number(number)],
    ]);
    const screened = Object.entries(SCREENED_NAMES).map(([number, name]) => [
      name,
      Number(number) >= Screened.DROPS ? "dropped" : "passed",
      SCREENED_TEXTS[Number(number)],
    ]);
    expect(rows.map(([, ...cells]) => cells)).toEqual([...reasons, ...screened]);
  });
});

/** Metrics and labels that an expression of PromQL names: `up` and `instance` are Prometheus' own. */
function namesIn(expression: string): { metrics: string[]; labels: [metric: string, label: string][] } {
  const metrics = [...expression.matchAll(/\b(?:weir|process|nodejs)_\w+/g)].map(([name]) => name);
  const labels = [...expression.matchAll(/\b((?:weir|process|nodejs)_\w+)\{([^}]*)\}/g)].flatMap(
    ([, metric = "", matchers = ""]) =>
      [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]): [string, string] => [
        metric,
        label,
      ]),
  );
  return { metrics, labels };
}

function expectKnown(expression: string): void {
  const { metrics, labels } = namesIn(expression);
  for (const name of metrics) expect(EXPORTED, expression).toContain(name);
  for (const [metric, label] of labels) {
    const own = LABELS.get(metric.replace(/_(bucket|sum|count)$/, "")) ?? [];
    expect([...own, "instance", "job", "le"], expression).toContain(label);
  }
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

describe("deploy/prometheus/weir-alerts.yaml", () => {
  const { groups } = parse(fileText("deploy/prometheus/weir-alerts.yaml")) as {
    groups: { name: string; rules: Rule[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);

  it.each(rules.map((rule) => [rule.alert, rule] as const))("%s queries existing metrics", (alert, rule) => {
    expect(alert).toMatch(/^Weir[A-Z][A-Za-z]+$/);
    expectKnown(rule.expr);
    expect(namesIn(rule.expr).metrics.length + Number(rule.expr.startsWith("up{"))).toBeGreaterThan(0);
    expect(["critical", "warning"]).toContain(rule.labels.severity);
    expect(rule.annotations.summary).toContain("$labels.instance");
    expect(rule.annotations.description).not.toBe("");
  });

  it("names each alert once", () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });
});

describe("deploy/grafana/weir.json", () => {
  const dashboard = JSON.parse(fileText("deploy/grafana/weir.json")) as {
    panels: { title: string; targets: { expr: string; legendFormat: string }[] }[];
    templating: { list: { query: string }[] };
  };

  it.each(dashboard.panels.map((panel) => [panel.title, panel] as const))("%s", (_, { targets }) => {
    expect(targets.length).toBeGreaterThan(0);
    for (const { expr } of targets) {
      expectKnown(expr);
      expect(namesIn(expr).metrics.length).toBeGreaterThan(0);
    }
  });

  it("chooses among existing instances", () => {
    for (const { query } of dashboard.templating.list) expectKnown(query);
  });
});

describe("a scrape", () => {
  it("has every metric, with the values that were read last", async () => {
    let value = 7;
    const metrics = openMetrics(async () => ({
      packets: [
        { labels: { direction: "ingress", verdict: "dropped", reason: "denied", family: "ipv6" }, value },
      ],
      generationApplied: [{ value }],
    }));
    metrics.observe("apply", 0.02);
    await metrics.text();
    value = 9;
    const text = await metrics.text();
    for (const { name, kind } of SPECS) expect(text).toContain(`# TYPE ${name} ${kind}\n`);
    expect(text).toMatch(/^weir_packets_total\{.*reason="denied".*\} 9$/m);
    expect(text).toContain("\nweir_generation_applied 9\n");
    expect(text).toContain('weir_apply_duration_seconds_bucket{le="0.05"} 1\n');
    expect(text).toContain('weir_apply_duration_seconds_bucket{le="0.01"} 0\n');
    expect(text).not.toMatch(/^weir_bytes_total/m);
  });

  it("reads once for concurrent requests", async () => {
    let reads = 0;
    const metrics = openMetrics(async () => {
      reads += 1;
      return {};
    });
    const pages = await Promise.all([metrics.text(), metrics.text(), metrics.text()]);
    expect(new Set(pages).size).toBe(1);
    expect(reads).toBe(1);
  });
});
