// Packets by the minute, drawn by uPlot; for those who do not see it, in a sentence.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { DropsView } from "../cli/ui/page-views.ts";

const HEIGHT = 150;

/** "04:10Z", as the command line has times. */
const minuteText = (seconds: number): string => `${new Date(seconds * 1_000).toISOString().slice(11, 16)}Z`;

export function TimeChart({
  minutes,
  label,
}: {
  readonly minutes: DropsView["minutes"];
  readonly label: string;
}) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | undefined>(undefined);
  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    // A canvas takes no variables: what they come to in this scheme.
    const colour = (name: string): string => {
      element.style.color = `var(${name})`;
      const found = getComputedStyle(element).color;
      element.style.color = "";
      return found;
    };
    const draw = (): void => {
      chart.current?.destroy();
      const line = { stroke: colour("--line"), width: 1 };
      const axis = { stroke: colour("--text"), grid: line, ticks: line };
      chart.current = new uPlot(
        {
          width: Math.max(200, element.clientWidth),
          height: HEIGHT,
          legend: { live: false },
          cursor: { drag: { x: false, y: false } },
          scales: { y: { range: (_, __, high) => [0, Math.max(1, high * 1.1)] } },
          axes: [
            { ...axis, values: (_, times) => times.map(minuteText) },
            { ...axis, size: 56 },
          ],
          series: [
            {},
            {
              label: "dropped",
              stroke: colour("--bad"),
              width: 2,
              fill: colour("--bad-ground"),
              points: { show: false },
            },
            {
              label: "audit: would be dropped",
              stroke: colour("--warn"),
              width: 2,
              dash: [6, 4],
              points: { show: false },
            },
          ],
        },
        [[...minutes.time], [...minutes.dropped], [...minutes.audit]],
        element,
      );
    };
    draw();
    const watcher = new ResizeObserver(() =>
      chart.current?.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT }),
    );
    watcher.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      scheme.removeEventListener("change", draw);
      watcher.disconnect();
      chart.current?.destroy();
      chart.current = undefined;
    };
  }, [minutes]);
  return <div class="chart" ref={place} role="img" aria-label={label} />;
}
