// Log lines: time, level, a constant message and fields; as text for people or JSON for collectors.

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** A log whose minimum level can be read and set while the process runs. */
export interface AdjustableLog extends Log {
  level(): LogLevel;
  /** Takes effect with the next message. */
  setLevel(level: LogLevel): void;
  /** The latest lines as text, oldest first, whatever the format. */
  recent(): readonly string[];
}

/** Lines that `recent` keeps. */
const RECENT_MAX = 1_000;

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly write: (line: string) => void;
  readonly now: () => Date;
}

export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export const isLogLevel = (text: string | null): text is LogLevel =>
  (LOG_LEVELS as readonly (string | null)[]).includes(text);

export function openLog(options: LogOptions): AdjustableLog {
  let lowest = LOG_LEVELS.indexOf(options.level);
  const recent: string[] = [];
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) < lowest) return;
      const now = options.now();
      const text = textLine(now, level, message, fields);
      options.write(options.format === "json" ? jsonLine(now, level, message, fields) : text);
      if (recent.push(text.trimEnd()) > RECENT_MAX) recent.shift();
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    level: () => LOG_LEVELS[lowest] as LogLevel,
    setLevel(level) {
      lowest = LOG_LEVELS.indexOf(level);
    },
    recent: () => recent,
  };
}

const jsonLine = (time: Date, level: LogLevel, message: string, fields: LogFields): string =>
  `${JSON.stringify({ time: time.toISOString(), level, message, ...fields })}\n`;

/** `2025-01-01T00:00:00.000Z info  enforcing generation=1` */
function textLine(time: Date, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${fieldText(value)}`],
  );
  return `${[time.toISOString(), level.padEnd(5), message, ...pairs].join(" ")}\n`;
}

/** Values with spaces are quoted; line ends never get through, so a record is always one line. */
function fieldText(value: string | number | boolean): string {
  const text = String(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
