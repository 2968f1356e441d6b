// Small parts that several views have: names, states of a question, lists of failures.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { NodeFailure } from "../cli/ui/page-views.ts";
import { printable } from "../observe/text-output.ts";
import type { Asked } from "./api.ts";

/** Characters that change the direction of what follows: shown as what they are. */
const DIRECTIONS = /[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

/** As the command line writes it, and in one direction. */
export const safeText = (text: string): string =>
  printable(text).replace(DIRECTIONS, (each) => `\\u{${each.codePointAt(0)?.toString(16)}}`);

/** A name from the cluster, whatever is in it: isolated from the text around it, cut where there is no room. */
export function Name({ of }: { readonly of: string }) {
  const text = safeText(of);
  return (
    <bdi class="name" title={text}>
      {text}
    </bdi>
  );
}

export const labelText = ({
  namespace,
  workload,
}: {
  readonly namespace: string;
  readonly workload?: string;
}): string =>
  namespace === "" ? (workload ?? "") : workload === undefined ? namespace : `${namespace}/${workload}`;

export const count = (number: number, noun: string, plural = `${noun}s`): string =>
  `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes === 0 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1_024 ** power;
  return `${power === 0 ? value : value.toFixed(1)} ${units[power]}`;
}

/** "14:05:12", of today, else with the date; in UTC, as the command line. */
export function timeText(iso: string): string {
  const today = new Date().toISOString().slice(0, 10);
  return iso.startsWith(today) ? `${iso.slice(11, 19)}Z` : `${iso.slice(0, 19)}Z`;
}

export function Failures({
  of,
  isOpen = false,
}: {
  readonly of: readonly NodeFailure[];
  readonly isOpen?: boolean;
}) {
  if (of.length === 0) return null;
  return (
    <details class="failures" open={isOpen}>
      <summary>
        <span aria-hidden="true">⚠ </span>
        {count(of.length, "node")} without an answer
      </summary>
      <ul>
        {of.map(({ node, error }) => (
          <li key={node}>
            <Name of={node} />: {safeText(error)}
          </li>
        ))}
      </ul>
    </details>
  );
}

interface WaitProps<T> {
  readonly asked: Asked<T>;
  readonly what: string;
  readonly children: (answer: T) => ComponentChildren;
}

/** What to show of a question: its answer, why there is none, or that it is on its way. */
export function Wait<T>({ asked: { answer, error, again }, what, children }: WaitProps<T>) {
  return (
    <>
      {error === undefined ? null : (
        <p class="error" role="alert">
          <span aria-hidden="true">⚠ </span>
          {safeText(error)}{" "}
          <button type="button" onClick={again}>
            Try again
          </button>
        </p>
      )}
      {answer !== undefined ? (
        children(answer)
      ) : error === undefined ? (
        <p role="status">Loading {what} …</p>
      ) : null}
    </>
  );
}

/** A text field that takes effect when typing pauses. */
export function Filter(props: {
  readonly label: string;
  readonly value: string;
  readonly hint?: string;
  readonly onChange: (value: string) => void;
}) {
  const [text, setText] = useState(props.value);
  useEffect(() => setText(props.value), [props.value]);
  const { onChange, value } = props;
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => onChange(text), 250);
    return () => clearTimeout(timer);
  }, [text, value, onChange]);
  return (
    <label class="field">
      <span>{props.label}</span>
      <input
        type="search"
        value={text}
        placeholder={props.hint ?? ""}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => setText(event.currentTarget.value)}
      />
    </label>
  );
}

export function Choice<T extends string>(props: {
  readonly label: string;
  readonly value: T;
  readonly options: readonly (readonly [value: T, text: string])[];
  readonly onChange: (value: T) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value as T)}>
        {props.options.map(([value, text]) => (
          <option key={value} value={value} selected={value === props.value}>
            {safeText(text)}
          </option>
        ))}
      </select>
    </label>
  );
}
