import type { JsonObject } from "./json/value.ts";

/** Version of a server, as its greeting and `query-version` tell it. */
export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  /** Whatever the distributor adds; may be empty. */
  readonly package: string;
}

/** What a server says of itself when a client connects. */
export interface QmpGreeting {
  readonly version: QmpVersion;
  /** `oob`: commands can be executed out of band. */
  readonly capabilities: readonly string[];
}

/** When an event happened, by the server's clock. Both -1 when the server does not know. */
export interface QmpTimestamp {
  readonly seconds: number;
  readonly microseconds: number;
}

/** Any event, as it came. */
export interface QmpAnyEvent {
  readonly event: string;
  readonly data: JsonObject;
  readonly timestamp: QmpTimestamp;
}

/** An event of a known name has known data; one of another name has whatever the server gave it. */
export type QmpEventOf<Events> = {
  [Name in keyof Events & string]: {
    readonly event: Name;
    readonly data: Events[Name];
    readonly timestamp: QmpTimestamp;
  };
}[keyof Events & string];

/** @param epochMs milliseconds since the Unix epoch; fractions are kept to the microsecond. */
export function toQmpTimestamp(epochMs: number): QmpTimestamp {
  const totalMicroseconds = Math.round(epochMs * 1000);
  const seconds = Math.floor(totalMicroseconds / 1_000_000);
  return { seconds, microseconds: totalMicroseconds - seconds * 1_000_000 };
}

/** The present, for the timestamp of an event. */
export function nowTimestamp(): QmpTimestamp {
  return toQmpTimestamp(performance.timeOrigin + performance.now());
}
