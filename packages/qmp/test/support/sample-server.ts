import {
  commandError,
  CommandTable,
  type QmpSchema,
  QmpServerConnection,
  type QmpServerOptions,
} from "../../src/index.ts";
import { Dialogue } from "./dialogue.ts";
import { socketPair } from "./sockets.ts";

/** A table with commands that a test can steer. */
export const SAMPLE_SCHEMA = {
  types: {},
  commands: {
    qmp_capabilities: { arguments: { "enable?": ["str"] }, returns: "any" },
    "query-commands": { arguments: {}, returns: "any" },
    "query-qmp-schema": { arguments: {}, returns: "any" },
    echo: { arguments: { "value?": "any" }, returns: "any" },
    hold: { arguments: { name: "str" }, returns: "any" },
    "x-oob": { arguments: {}, returns: "any", oob: true },
    fail: { arguments: { class: "str" }, returns: "any" },
    crash: { arguments: {}, returns: "any" },
  },
  events: {},
} as const satisfies QmpSchema;

/** A server on one end of a socket and a raw conversation on the other, greeted already. */
export async function startSample(options: Partial<QmpServerOptions> = {}): Promise<{
  readonly dialogue: Dialogue;
  readonly connection: QmpServerConnection;
  readonly held: Map<string, () => void>;
  readonly began: string[];
  readonly signals: AbortSignal[];
  readonly hangUp: () => void;
  readonly endInput: () => void;
}> {
  const held = new Map<string, () => void>();
  const began: string[] = [];
  const signals: AbortSignal[] = [];
  const table = new CommandTable(SAMPLE_SCHEMA).add(SAMPLE_SCHEMA, {
    echo: ({ value }) => value ?? {},
    hold: async ({ name }, { signal }) => {
      began.push(name);
      signals.push(signal);
      await new Promise<void>((resolve) => held.set(name, resolve));
      return name;
    },
    "x-oob": () => "overtook",
    fail: (args) => {
      throw args.class === "DeviceNotFound" ? commandError("gone", "DeviceNotFound") : commandError("bad");
    },
    crash: () => {
      throw new TypeError("a bug");
    },
  });
  const { near, far } = await socketPair();
  const connection = new QmpServerConnection(far, table, {
    version: { qemu: { major: 7, minor: 2, micro: 0 }, package: "test" },
    ...options,
  });
  const dialogue = new Dialogue(near);
  return {
    dialogue,
    connection,
    held,
    began,
    signals,
    hangUp: () => near.destroy(),
    endInput: () => near.end(),
  };
}
