// Questions to the server that has sent the page.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Answered } from "../cli/ui/page-views.ts";

const KEY = "weir-token";
const TOKEN = /^#([A-Za-z0-9_-]{32})$/;

/** Out of the address, so that it is in no history, bookmark or screenshot; kept for a reload of this tab. */
export function takeToken(): void {
  const [, token] = TOKEN.exec(location.hash) ?? [];
  if (token === undefined) return;
  sessionStorage.setItem(KEY, token);
  history.replaceState(null, "", location.pathname);
}

export type Parameters = Readonly<Record<string, string | undefined>>;

/** @throws Error with the server's reason */
export async function ask<T extends Answered>(
  path: string,
  parameters: Parameters,
  signal: AbortSignal,
): Promise<T> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters))
    if (value !== undefined && value !== "") query.set(name, value);
  const headers = { authorization: `Bearer ${sessionStorage.getItem(KEY) ?? ""}` };
  const response = await fetch(`/api/${path}?${query}`, { headers, signal }).catch((thrown: unknown) => {
    if (signal.aborted) throw thrown;
    throw new Error("no answer: the command that serves this page has ended");
  });
  const value = (await response.json()) as T | { readonly error: string };
  if ("error" in value) throw new Error(value.error);
  return value;
}

export interface Asked<T> {
  /** The last answer, also of another question while this one is not answered. */
  readonly answer: T | undefined;
  readonly error: string | undefined;
  readonly isLoading: boolean;
  readonly again: () => void;
}

/** The answer to a request, repeated every `everyMs` while the page is visible (0: once). Without a path there is no request. */
export function useAnswer<T extends Answered>(
  path: string | undefined,
  parameters: Parameters,
  everyMs = 0,
): Asked<T> {
  const [state, setState] = useState<{
    readonly answer?: T;
    readonly error?: string;
    readonly isLoading: boolean;
  }>({
    isLoading: false,
  });
  const [turn, setTurn] = useState(0);
  const key = JSON.stringify([path, parameters]);
  const last = useRef(key);
  useEffect(() => {
    if (path === undefined) {
      setState({ isLoading: false });
      return;
    }
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const load = async (): Promise<void> => {
      if (document.visibilityState === "visible") {
        try {
          const answer = await ask<T>(path, parameters, ended.signal);
          if (!ended.signal.aborted) setState({ answer, isLoading: false });
        } catch (thrown) {
          if (ended.signal.aborted) return;
          setState((before) => ({ ...before, error: String((thrown as Error).message), isLoading: false }));
        }
      }
      if (everyMs > 0 && !ended.signal.aborted) timer = setTimeout(load, everyMs);
    };
    setState((before) => ({ ...before, isLoading: true }));
    last.current = key;
    void load();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [key, everyMs, turn]);
  return {
    answer: state.answer,
    error: state.error,
    isLoading: state.isLoading || last.current !== key,
    again: () => setTurn((before) => before + 1),
  };
}
