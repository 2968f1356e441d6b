// The matrix itself: a grid of which only what is in sight is in the document, moved through by arrow keys.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { CellView, LabelView, MatrixView } from "../cli/ui/page-views.ts";
import { cellSentence, cellText } from "./cells.ts";
import { labelText, Name, safeText } from "./parts.tsx";

/** In CSS pixels, as page.css has them. */
const CELL = { width: 40, height: 26 } as const;
const HEAD = { width: 190, height: 140 } as const;
/** Rows and columns beyond the edge: so that scrolling shows no gap. */
const MARGIN = 3;

interface GridProps {
  readonly matrix: MatrixView;
  /** Those of the matrix that are shown. */
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly chosen: readonly [row: number, column: number] | undefined;
  readonly onChoose: (at: readonly [row: number, column: number]) => void;
}

export function MatrixGrid({ matrix, rows, columns, chosen, onChoose }: GridProps) {
  const box = useRef<HTMLDivElement>(null);
  const [sight, setSight] = useState({ top: 0, left: 0, width: 700, height: 460 });
  const [focus, setFocus] = useState<readonly [number, number]>([0, 0]);
  const mustFocus = useRef(false);
  const at = [Math.min(focus[0], rows.length - 1), Math.min(focus[1], columns.length - 1)] as const;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const look = (): void =>
      setSight({
        top: element.scrollTop,
        left: element.scrollLeft,
        width: element.clientWidth,
        height: element.clientHeight,
      });
    const watcher = new ResizeObserver(look);
    watcher.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      watcher.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, []);

  useLayoutEffect(() => {
    if (!mustFocus.current) return;
    mustFocus.current = false;
    box.current
      ?.querySelector<HTMLElement>('[role="gridcell"][tabindex="0"]')
      ?.focus({ preventScroll: true });
  });

  const move = (row: number, column: number): void => {
    const next = [clamp(row, rows.length), clamp(column, columns.length)] as const;
    setFocus(next);
    mustFocus.current = true;
    reveal(box.current, next);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const page = Math.max(1, Math.floor((sight.height - HEAD.height) / CELL.height) - 1);
    const [row, column] = at;
    const moves: Readonly<Record<string, readonly [number, number]>> = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      PageUp: [row - page, column],
      PageDown: [row + page, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? rows.length - 1 : row, columns.length - 1],
    };
    const to = moves[event.key];
    if (to !== undefined) move(...to);
    else if (event.key === "Enter" || event.key === " ")
      onChoose([rows[row] as number, columns[column] as number]);
    else return;
    event.preventDefault();
  };

  const [firstRow, lastRow] = range(sight.top, sight.height - HEAD.height, CELL.height, rows.length);
  const [firstColumn, lastColumn] = range(sight.left, sight.width - HEAD.width, CELL.width, columns.length);
  const inSight = <T,>(all: readonly T[], first: number, last: number): readonly (readonly [T, number])[] =>
    all.slice(first, last + 1).map((each, index) => [each, first + index] as const);
  const columnsInSight = withFocused(inSight(columns, firstColumn, lastColumn), columns, at[1]);

  return (
    // biome-ignore lint/a11y/useSemanticElements: a table of which only a part is in the document needs the roles and counts of a grid
    <div
      ref={box}
      class="grid"
      role="grid"
      aria-label="Who may reach whom: rows send, columns receive"
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length + 1}
      tabIndex={-1}
      onKeyDown={onKeyDown}
    >
      <div
        class="ground"
        style={{
          width: `${HEAD.width + columns.length * CELL.width}px`,
          height: `${HEAD.height + rows.length * CELL.height}px`,
        }}
      >
        {/* biome-ignore lint/a11y/useSemanticElements: as the grid */}
        {/* biome-ignore lint/a11y/useFocusableInteractive: the cells take the focus */}
        <div class="heads" role="row" aria-rowindex={1}>
          {/* biome-ignore lint/a11y/useSemanticElements: as the grid */}
          {/* biome-ignore lint/a11y/useFocusableInteractive: as the row */}
          <span class="corner" role="columnheader" aria-colindex={1}>
            from ↓ to →
          </span>
          {columnsInSight.map(([column, index]) => (
            <Head
              key={column}
              kind="columnheader"
              label={matrix.columns[column]}
              index={index}
              isCurrent={index === at[1]}
            />
          ))}
        </div>
        {withFocused(inSight(rows, firstRow, lastRow), rows, at[0]).map(([row, index]) => (
          // biome-ignore lint/a11y/useSemanticElements: as the grid
          // biome-ignore lint/a11y/useFocusableInteractive: as the row of heads
          <div
            key={row}
            class="row"
            role="row"
            aria-rowindex={index + 2}
            style={{ top: `${HEAD.height + index * CELL.height}px` }}
          >
            <Head kind="rowheader" label={matrix.rows[row]} index={index} isCurrent={index === at[0]} />
            {columnsInSight.map(([column, columnIndex]) => (
              <Cell
                key={column}
                cell={matrix.distinct[matrix.cells[row]?.[column] ?? 0]}
                from={matrix.rows[row]}
                to={matrix.columns[column]}
                index={columnIndex}
                isFocus={index === at[0] && columnIndex === at[1]}
                isChosen={chosen?.[0] === row && chosen[1] === column}
                onChoose={() => {
                  setFocus([index, columnIndex]);
                  onChoose([row, column]);
                }}
              />
            ))}
          </div>
        ))}
      </div>
    </div>
  );
}

const clamp = (value: number, length: number): number => Math.max(0, Math.min(value, length - 1));

function range(start: number, size: number, step: number, length: number): readonly [number, number] {
  const first = Math.floor(start / step) - MARGIN;
  const last = Math.ceil((start + size) / step) + MARGIN;
  return [clamp(first, length), clamp(last, length)];
}

/** What has the focus stays in the document, wherever one has scrolled to. */
function withFocused<T>(
  seen: readonly (readonly [T, number])[],
  all: readonly T[],
  focused: number,
): readonly (readonly [T, number])[] {
  const item = all[focused];
  if (item === undefined || seen.some(([, index]) => index === focused)) return seen;
  return [...seen, [item, focused] as const];
}

function reveal(box: HTMLDivElement | null, [row, column]: readonly [number, number]): void {
  if (box === null) return;
  const [top, left] = [row * CELL.height, column * CELL.width];
  const [height, width] = [
    box.clientHeight - HEAD.height - CELL.height,
    box.clientWidth - HEAD.width - CELL.width,
  ];
  box.scrollTop = Math.min(top, Math.max(box.scrollTop, top - height));
  box.scrollLeft = Math.min(left, Math.max(box.scrollLeft, left - width));
}

function Head(props: {
  readonly kind: "columnheader" | "rowheader";
  readonly label: LabelView | undefined;
  readonly index: number;
  readonly isCurrent: boolean;
}) {
  const { kind, label, index, isCurrent } = props;
  if (label === undefined) return null;
  const isColumn = kind === "columnheader";
  const isolated = isColumn ? label.isolated.ingress : label.isolated.egress;
  return (
    // biome-ignore lint/a11y/useAriaPropsSupportedByRole: a header has a column
    <span
      class={`head ${isCurrent ? "current" : ""}`}
      role={kind}
      aria-colindex={isColumn ? index + 2 : 1}
      style={isColumn ? { left: `${HEAD.width + index * CELL.width}px` } : {}}
    >
      <Name of={label.workload ?? label.namespace} />
      <small class={isolated > 0 ? "isolated" : ""} aria-hidden="true">
        {label.pods === 0 ? "" : label.pods}
      </small>
    </span>
  );
}

function Cell(props: {
  readonly cell: CellView | undefined;
  readonly from: LabelView | undefined;
  readonly to: LabelView | undefined;
  readonly index: number;
  readonly isFocus: boolean;
  readonly isChosen: boolean;
  readonly onChoose: () => void;
}) {
  const { cell, from, to, index, isFocus, isChosen, onChoose } = props;
  if (cell === undefined || from === undefined || to === undefined) return null;
  return (
    // biome-ignore lint/a11y/useSemanticElements: as the grid
    // biome-ignore lint/a11y/useKeyWithClickEvents: the grid has the keys
    <span
      class={`cell ${cell.kind} ${cell.audit === true ? "audit" : ""}`}
      role="gridcell"
      aria-colindex={index + 2}
      aria-selected={isChosen}
      aria-label={safeText(`${labelText(from)} to ${labelText(to)}: ${cellSentence(cell)}`)}
      tabIndex={isFocus ? 0 : -1}
      style={{ left: `${HEAD.width + index * CELL.width}px` }}
      onClick={onChoose}
    >
      {cellText(cell)}
    </span>
  );
}
