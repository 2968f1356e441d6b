// Policies: what they select, and where they are enforced.

import { useMemo, useState } from "preact/hooks";
import type { PoliciesView, PolicyRowView } from "../cli/ui/page-views.ts";
import { useAnswer } from "./api.ts";
import { count, Failures, Filter, Name, safeText, Wait } from "./parts.tsx";
import { go } from "./route.ts";

const ROWS_SHOWN = 200;

export function PoliciesPage({ parameters }: { readonly parameters: Readonly<Record<string, string>> }) {
  const show = parameters["show"] ?? "";
  const asked = useAnswer<PoliciesView>("policies", {});
  return (
    <>
      <search class="controls" aria-label="What to show">
        <Filter
          label="Names"
          value={show}
          hint="part of a name"
          onChange={(value) => go("policies", { show: value })}
        />
        <button type="button" onClick={asked.again}>
          Refresh
        </button>
      </search>
      <Wait asked={asked} what="the policies">
        {(answer) => <Table answer={answer} show={show} />}
      </Wait>
    </>
  );
}

const nameOf = ({ namespace, name }: PolicyRowView): string =>
  namespace === "" ? name : `${namespace}/${name}`;

function Table({
  answer: { policies, failures },
  show,
}: {
  readonly answer: PoliciesView;
  readonly show: string;
}) {
  const found = useMemo(() => policies.filter((policy) => nameOf(policy).includes(show)), [policies, show]);
  const [opened, setOpened] = useState<string>();
  return (
    <>
      <p class="summary" role="status">
        {count(found.length, "policy", "policies")}
        {found.length > ROWS_SHOWN ? `, of which the first ${ROWS_SHOWN} are shown: filter by name` : ""}
      </p>
      <Failures of={failures} />
      <div class="scroll">
        <table>
          <caption class="hidden">Policies</caption>
          <thead>
            <tr>
              <th scope="col">Policy</th>
              <th scope="col">Selects</th>
              <th scope="col">Isolates</th>
              <th scope="col" class="number">
                Rules
              </th>
              <th scope="col" class="number">
                Pods
              </th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, ROWS_SHOWN).map((policy) => (
              <Row
                key={nameOf(policy)}
                policy={policy}
                isOpen={opened === nameOf(policy)}
                onToggle={(isOpen) => setOpened(isOpen ? nameOf(policy) : undefined)}
              />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function stateOf({ pods, enforced, audit, unreadable, omitted }: PolicyRowView): {
  readonly text: string;
  readonly tone: "good" | "warn" | "bad" | "";
} {
  if (unreadable !== undefined) return { text: "⚠ unreadable: denies more than it says", tone: "bad" };
  if (omitted !== undefined) return { text: "⚠ partly unreadable", tone: "bad" };
  if (audit === true) return { text: "⚠ audit mode: drops nothing", tone: "warn" };
  if (pods === 0) return { text: "selects no pod", tone: "" };
  return enforced === pods
    ? { text: "✓ enforced", tone: "good" }
    : { text: `⚠ enforced on ${enforced} of ${pods}`, tone: "bad" };
}

function Row({
  policy,
  isOpen,
  onToggle,
}: {
  readonly policy: PolicyRowView;
  readonly isOpen: boolean;
  readonly onToggle: (isOpen: boolean) => void;
}) {
  const { selector, types, rules, pods, nodes, tier, priority, unreadable, omitted } = policy;
  const { text, tone } = stateOf(policy);
  return (
    <>
      <tr>
        <th scope="row">
          <button type="button" class="link" aria-expanded={isOpen} onClick={() => onToggle(!isOpen)}>
            <span aria-hidden="true">{isOpen ? "▾ " : "▸ "}</span>
            <Name of={nameOf(policy)} />
          </button>
          {tier === undefined ? "" : ` (${tier} ${priority})`}
        </th>
        <td>{selector === "" ? "every pod" : <Name of={selector} />}</td>
        <td>{types.join(", ").toLowerCase()}</td>
        <td class="number">
          {rules.ingress} in, {rules.egress} out
        </td>
        <td class="number">{pods}</td>
        <td class={tone}>{text}</td>
      </tr>
      {isOpen ? (
        <tr class="more">
          <td colSpan={6}>
            {unreadable === undefined ? null : <p class="bad">{safeText(unreadable)}</p>}
            {omitted === undefined ? null : <p class="bad">{safeText(omitted)}</p>}
            {nodes.length === 0 ? <p>No node has a pod that it selects.</p> : null}
            <ul>
              {nodes.map(({ node, pods: own, enforced, some }) => (
                <li key={node}>
                  <Name of={node} />: enforced on {enforced} of {count(own, "pod")} (
                  {some.map((pod, at) => (
                    <span key={pod}>
                      {at === 0 ? "" : ", "}
                      <Name of={pod} />
                    </span>
                  ))}
                  {own > some.length ? ` and ${own - some.length} more` : ""})
                </li>
              ))}
            </ul>
          </td>
        </tr>
      ) : null}
    </>
  );
}
