/*
 * Answers of a peer, which may be any version of any daemon. Fields are taken when they have the type we expect and left
 * out otherwise: an odd answer costs a column, never the table.
 */

/** A JSON object whose members have not been looked at. */
export type Json = Readonly<Record<string, unknown>>;

/** One entry of `query-block-jobs`, or of `query-jobs` for jobs that are not block jobs. */
export interface PeerJob {
  readonly id: string;
  readonly type: string;
  readonly status: string;
  readonly offset: number;
  readonly length: number;
  readonly speed: number;
  readonly busy: boolean;
  readonly paused: boolean;
  readonly ready: boolean;
  readonly ioStatus: string;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly error: string | undefined;
  readonly activelySynced: boolean | undefined;
  readonly copyMode: string | undefined;
  /** Answers to the verbs of block jobs, such as `block-job-set-speed`. */
  readonly isBlockJob: boolean;
}

/** The members of `value` when it is an object. */
export function asObject(value: unknown): Json | undefined {
  return isObject(value) ? value : undefined;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The objects in `value` when it is an array. */
export function asObjects(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** A string member, or undefined. */
export function textOf(object: Json | undefined, name: string): string | undefined {
  const value = object?.[name];
  return typeof value === "string" ? value : undefined;
}

/** A finite number member, or undefined. Whole numbers beyond 2^53 are rounded: they are only shown. */
export function numberOf(object: Json | undefined, name: string): number | undefined {
  const value = object?.[name];
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** An array of finite numbers, or undefined. */
export function numbersOf(object: Json | undefined, name: string): readonly number[] | undefined {
  const value = object?.[name];
  if (!Array.isArray(value)) return undefined;
  const numbers = value.filter((each): each is number => typeof each === "number" && Number.isFinite(each));
  return numbers.length === value.length ? numbers : undefined;
}

function flagOf(object: Json, name: string): boolean | undefined {
  const value = object[name];
  return typeof value === "boolean" ? value : undefined;
}

/** Reads `query-block-jobs`. */
export function readBlockJobs(answer: unknown): readonly PeerJob[] {
  return asObjects(answer).flatMap((entry) => {
    const id = textOf(entry, "device");
    if (id === undefined) return [];
    const ready = flagOf(entry, "ready") ?? false;
    const paused = flagOf(entry, "paused") ?? false;
    return [
      {
        id,
        type: textOf(entry, "type") ?? "job",
        // Before QEMU 3.0 there was no status; what can be told from the flags is told.
        status: textOf(entry, "status") ?? (ready ? "ready" : paused ? "paused" : "running"),
        offset: numberOf(entry, "offset") ?? 0,
        length: numberOf(entry, "len") ?? 0,
        speed: numberOf(entry, "speed") ?? 0,
        busy: flagOf(entry, "busy") ?? false,
        paused,
        ready,
        ioStatus: textOf(entry, "io-status") ?? "ok",
        autoFinalize: flagOf(entry, "auto-finalize") ?? true,
        autoDismiss: flagOf(entry, "auto-dismiss") ?? true,
        error: textOf(entry, "error"),
        activelySynced: flagOf(entry, "actively-synced"),
        copyMode: textOf(entry, "copy-mode"),
        isBlockJob: true,
      },
    ];
  });
}

/** Reads `query-jobs`, without those that `blockJobs` has told already. */
export function readOtherJobs(answer: unknown, blockJobs: readonly PeerJob[]): readonly PeerJob[] {
  const known = new Set(blockJobs.map(({ id }) => id));
  return asObjects(answer).flatMap((entry) => {
    const id = textOf(entry, "id");
    const status = textOf(entry, "status") ?? "running";
    if (id === undefined || known.has(id)) return [];
    return [
      {
        id,
        type: textOf(entry, "type") ?? "job",
        status,
        offset: numberOf(entry, "current-progress") ?? 0,
        length: numberOf(entry, "total-progress") ?? 0,
        speed: 0,
        busy: status === "running",
        paused: status === "paused" || status === "standby",
        ready: status === "ready" || status === "standby",
        ioStatus: "ok",
        autoFinalize: true,
        autoDismiss: false,
        error: textOf(entry, "error"),
        activelySynced: undefined,
        copyMode: undefined,
        isBlockJob: false,
      },
    ];
  });
}
