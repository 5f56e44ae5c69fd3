import type { DeviceSpec, DriverRegistry, ThrottleGroup, ZeroDetection } from "@blockmirror/block-driver";
import type { NbdTlsFiles } from "@blockmirror/nbd";
import { commandError, isJsonObject, type JsonObject, type JsonValue } from "@blockmirror/qmp";
import { safeInteger } from "../safe-integer.ts";
import { isStandardDriver, registeredName } from "../schema/driver-types.ts";
import { nbdOptions } from "./driver-options/nbd.ts";

/** Options of a node that every driver has; the graph's, or nobody's. */
const NODE_OPTIONS: ReadonlySet<string> = new Set([
  "driver",
  "node-name",
  "discard",
  "cache",
  "read-only",
  "auto-read-only",
  "force-share",
  "detect-zeroes",
]);

/**
 * Options that change how another block layer does its work and not what it does: accepted, so that scripts written for
 * it run, and without effect.
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "aio",
  "aio-max-batch",
  "drop-cache",
  "x-check-cache-dropped",
  "pr-manager",
  "pass-discard-request",
  "pass-discard-snapshot",
  "pass-discard-other",
  "overlap-check",
  "l2-cache-size",
  "l2-cache-entry-size",
  "refcount-cache-size",
  "cache-clean-interval",
  "lazy-refcounts",
  "latency-ns",
]);

/** Options that name a node or describe one. */
const CHILD_OPTIONS: ReadonlySet<string> = new Set(["file", "backing", "data-file", "image"]);

const NODE_NAME = /^[A-Za-z][A-Za-z0-9._-]*$/;
const MAX_NODE_NAME_LENGTH = 126;

/** Refuses a name that a node of a user's cannot have. */
export function requireNodeName(name: string): void {
  if (!NODE_NAME.test(name) || name.length > MAX_NODE_NAME_LENGTH) {
    throw commandError(`Invalid node-name: '${name}'`);
  }
}

/** What a translation needs to know. */
export interface OptionsContext {
  readonly registry: DriverRegistry;
  /** Whether a node of that name exists. */
  readonly hasNode: (name: string) => boolean;
  /** The client's credentials with that id; throws when there are none. */
  readonly credentials: (id: string) => NbdTlsFiles;
  /** The group with that id; throws when there is none. */
  readonly throttleGroup: (id: string) => ThrottleGroup;
  /** Open nodes with `auto-read-only` for reading only, since they could not be opened for writing. */
  readonly fallsBackToReadOnly?: boolean;
}

/** Whether the options, or those of a child described inline, allow to open for reading only if need be. */
export function mayFallBackToReadOnly(options: JsonObject): boolean {
  if (options["auto-read-only"] === true && options["read-only"] !== true) return true;
  return [...CHILD_OPTIONS].some((name) => {
    const child = options[name];
    return isJsonObject(child) && mayFallBackToReadOnly(child);
  });
}

/**
 * Turns checked `blockdev-add` options into a spec of the block graph, inline children included. Refuses, before anything
 * is opened, names that are taken or impossible and references to nodes that do not exist.
 *
 * @throws QmpError of class `GenericError`.
 */
export function toDeviceSpec(options: JsonObject, context: OptionsContext): DeviceSpec {
  return new Translation(context).spec(options);
}

/** How a node is opened, and its inline children as far as they do not say otherwise. */
interface Way {
  readonly readOnly: boolean;
  readonly forceShare: boolean;
}

/** One translation: names must not occur twice in it. */
class Translation {
  readonly #context: OptionsContext;
  readonly #taken: Set<string> = new Set();

  constructor(context: OptionsContext) {
    this.#context = context;
  }

  spec(options: JsonObject, parent: Way = { readOnly: false, forceShare: false }): DeviceSpec {
    const driver = text(options["driver"]);
    const nodeName = options["node-name"];
    if (typeof nodeName === "string") this.#take(nodeName);
    const detectZeroes = zeroDetection(options);
    const fallsBack = this.#context.fallsBackToReadOnly === true && options["auto-read-only"] === true;
    const readOnly = fallsBack ? true : options["read-only"];
    const way: Way = {
      readOnly: readOnly === undefined ? parent.readOnly : readOnly === true,
      forceShare: options["force-share"] === undefined ? parent.forceShare : options["force-share"] === true,
    };
    if (way.forceShare && !way.readOnly) {
      throw commandError("force-share=on can only be used with read-only images");
    }
    return {
      ...this.#driverOptions(driver, options, way),
      driver: registeredName(driver),
      ...(typeof nodeName === "string" ? { nodeName } : {}),
      ...(typeof readOnly === "boolean" ? { readOnly } : {}),
      ...(detectZeroes === "off" ? {} : { detectZeroes }),
    };
  }

  #take(name: string): void {
    requireNodeName(name);
    if (this.#context.hasNode(name) || this.#taken.has(name)) {
      throw commandError(`Duplicate nodes with node-name='${name}'`);
    }
    this.#taken.add(name);
  }

  #driverOptions(driver: string, options: JsonObject, way: Way): Readonly<Record<string, unknown>> {
    switch (driver) {
      case "nbd":
        return nbdOptions(options, this.#context.credentials);
      case "throttle":
        return {
          file: this.#child(options["file"] ?? null, way),
          group: this.#context.throttleGroup(text(options["throttle-group"])),
        };
      case "file":
      case "host_device":
        return {
          ...this.#plainOptions(driver, withoutForeignAio(options), way),
          // Whoever shares everything neither locks nor looks at locks.
          ...(way.forceShare ? { locking: "off" } : {}),
        };
      default:
        return this.#plainOptions(driver, options, way);
    }
  }

  /** The options of the driver itself, spelled as it knows them. */
  #plainOptions(driver: string, options: JsonObject, way: Way): Readonly<Record<string, unknown>> {
    const { fields } = this.#context.registry.get(registeredName(driver)).options;
    const translated: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(options)) {
      if (NODE_OPTIONS.has(name) || value === undefined) continue;
      const known = [name, camelCase(name)].find((each) => Object.hasOwn(fields, each));
      if (known === undefined) {
        if (isStandardDriver(driver) && WITHOUT_EFFECT.has(name)) continue;
        throw commandError(`Parameter '${name}' is not supported by driver '${driver}'; leave it out`);
      }
      const isChild =
        fields[known]?.type === "child" || (isStandardDriver(driver) && CHILD_OPTIONS.has(name));
      translated[known] = isChild
        ? this.#child(value, name === "backing" ? { ...way, readOnly: true } : way)
        : plain(name, value);
    }
    return translated;
  }

  #child(value: JsonValue, parent: Way): DeviceSpec | string | null {
    if (value === null) return null;
    if (isJsonObject(value)) return this.spec(value, parent);
    const name = text(value);
    if (!this.#context.hasNode(name)) {
      throw commandError(`Cannot find device='${name}' nor node-name='${name}'`);
    }
    return name;
  }
}

/**
 * The options of a file without a way of doing I/O that is not there: what it does is the same.
 *
 * @throws QmpError as QEMU has it where `native` is refused.
 */
function withoutForeignAio(options: JsonObject): JsonObject {
  const { aio, ...others } = options;
  if (aio !== "native" && aio !== "io_uring") return options;
  const { cache } = options;
  if (aio === "native" && !(isJsonObject(cache) && cache["direct"] === true)) {
    throw commandError("aio=native was specified, but it requires cache.direct=on, which was not specified.");
  }
  return others;
}

/**
 * What a node is to do with writes of zeroes.
 *
 * @throws QmpError when it is to unmap on a node that ignores discards.
 */
export function zeroDetection(options: JsonObject): ZeroDetection {
  const asked = options["detect-zeroes"] ?? "off";
  if (asked === "unmap" && options["discard"] !== "unmap") {
    throw commandError(
      "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
    );
  }
  return asked === "on" || asked === "unmap" ? asked : "off";
}

/** A value with every integer as a number. */
function plain(name: string, value: JsonValue): unknown {
  if (typeof value === "bigint") return safeInteger(name, value);
  if (Array.isArray(value)) return value.map((item: JsonValue) => plain(name, item));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [
      key,
      member === undefined ? undefined : plain(key, member),
    ]),
  );
}

/** `cluster-size` is `clusterSize` to a driver. */
export function camelCase(name: string): string {
  return name.replaceAll(/-([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}

function text(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}
