// Where the nodes of the graph are: forces until they rest, computed at once.

import {
  forceCollide,
  forceLink,
  forceManyBody,
  forceSimulation,
  forceX,
  forceY,
  type SimulationNodeDatum,
} from "d3-force";
import type { GraphView } from "../cli/ui/page-views.ts";

export interface Place {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** Of the drawing, in its own units. */
export const CANVAS = { width: 740, height: 460 } as const;
const PADDING = { x: 70, y: 42 } as const;
const TICKS = 220;

/** By the number of pods; the area grows with it. */
const radiusOf = (pods: number): number => Math.min(22, 7 + Math.sqrt(pods));

export function placesOf({ nodes, edges }: Pick<GraphView, "nodes" | "edges">): readonly Place[] {
  const bodies = nodes.map(({ pods }): SimulationNodeDatum & { radius: number } => ({
    radius: radiusOf(pods),
  }));
  const { width, height } = CANVAS;
  const spread = Math.sqrt((width * height) / Math.max(1, nodes.length));
  forceSimulation(bodies)
    .force("charge", forceManyBody().strength(-spread * 3))
    .force(
      "link",
      forceLink(edges.map(({ from, to }) => ({ source: from, target: to })))
        .distance(spread * 1.1)
        .strength(0.15),
    )
    .force("x", forceX(width / 2).strength(0.06))
    .force("y", forceY(height / 2).strength(0.1))
    .force(
      "collide",
      forceCollide<(typeof bodies)[number]>((body) => body.radius + 16),
    )
    .stop()
    .tick(TICKS);
  return fitted(bodies);
}

/** Scaled so that all of it is used and nothing is outside. */
function fitted(bodies: readonly (SimulationNodeDatum & { readonly radius: number })[]): Place[] {
  const axis = (of: (body: SimulationNodeDatum) => number, size: number, padding: number) => {
    const values = bodies.map(of);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const scale = high > low ? Math.min(2.2, (size - 2 * padding) / (high - low)) : 1;
    return (body: SimulationNodeDatum): number => size / 2 + (of(body) - (low + high) / 2) * scale;
  };
  const x = axis(({ x: at = 0 }) => at, CANVAS.width, PADDING.x);
  const y = axis(({ y: at = 0 }) => at, CANVAS.height, PADDING.y);
  return bodies.map((body) => ({ x: x(body), y: y(body), radius: body.radius }));
}
