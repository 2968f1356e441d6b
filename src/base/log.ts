// Log lines: constant text plus fields, as text for people or JSON for collectors.

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFormat = "text" | "json";
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly write: (line: string) => void;
  readonly now: () => Date;
}

export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export function openLog(options: LogOptions): Log {
  const lowest = LOG_LEVELS.indexOf(options.level);
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) < lowest) return;
      options.write(
        options.format === "json"
          ? jsonLine(options.now(), level, message, fields)
          : textLine(level, message, fields),
      );
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

const jsonLine = (time: Date, level: LogLevel, message: string, fields: LogFields): string =>
  `${JSON.stringify({ time: time.toISOString(), level, message, ...fields })}\n`;

function textLine(level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${fieldText(value)}`],
  );
  const prefix = level === "info" ? "weir:" : `weir: ${level}:`;
  return `${[prefix, message, ...pairs].join(" ")}\n`;
}

/** Values with spaces are quoted; line ends never get through, so a record is always one line. */
function fieldText(value: string | number | boolean): string {
  const text = String(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}
