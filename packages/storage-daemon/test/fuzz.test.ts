import {
  copyOnReadDriver,
  DriverRegistry,
  memoryDriver,
  qcow2Driver,
  rawDriver,
} from "@blockmirror/block-driver";
import type { JsonObject, JsonValue } from "@blockmirror/qmp";
import * as fc from "fast-check";
import { expect, test } from "vitest";

import { Daemon } from "../src/index.ts";
import { FUZZ_TIMEOUT_MS, fuzzing } from "./support/fuzzing.ts";
import { RawMonitor } from "./support/raw-monitor.ts";
import { Side } from "./support/sides.ts";

/** A daemon that cannot reach any file: what comes of noise stays in memory. */
async function startHarmless(errors: unknown[]): Promise<Side> {
  const registry = new DriverRegistry()
    .register(memoryDriver)
    .register(rawDriver)
    .register(qcow2Driver)
    .register(copyOnReadDriver);
  const side = await Side.ours({ registry, onError: (error) => errors.push(error) });
  for (const name of ["src", "dst"]) {
    await side.run("blockdev-add", { driver: "memory", "node-name": name, size: 65_536 });
  }
  return side;
}

/** Commands that would end the daemon or open sockets. */
const LEFT_OUT: ReadonlySet<string> = new Set(["quit", "nbd-server-start"]);
const COMMANDS = new Daemon().commands.names.filter((name) => !LEFT_OUT.has(name));

/** Every name of an argument that there is, from the schema, and some of those inside. */
const MEMBERS = [
  ...new Set(
    Object.values(new Daemon().commands.schema.commands).flatMap((command) =>
      typeof command.arguments === "string"
        ? []
        : Object.keys(command.arguments).map((key) => key.replace("?", "")),
    ),
  ),
  "driver",
  "size",
  "file",
  "backing",
  "name",
  "id",
  "type",
  "data",
  "bitmaps",
];

const words = fc.constantFrom(
  "src",
  "dst",
  "j",
  "k",
  "b",
  "n",
  "",
  "1bad",
  "full",
  "top",
  "none",
  "memory",
  "raw",
  "qcow2",
  "nbd",
  "existing",
  "copy-on-read",
  "mirror",
  "write-blocking",
  "abort",
  "/nonexistent/x",
  "\u0000é😀",
  "x".repeat(3000),
);
const numbers = fc.oneof(
  fc.constantFrom(0, 1, -1, 512, 4096, 65_536, 2 ** 31, 2 ** 53, 1e300, 0.5),
  fc.integer(),
);
const { value: anyValue } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    words,
    numbers,
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...MEMBERS), tie("value"), { maxKeys: 4 }),
  ),
}));
const anyArguments = fc.dictionary(fc.constantFrom(...MEMBERS), anyValue, { maxKeys: 6 });

/** Arguments that are nearly right, so that more than the check of arguments is reached. */
const likely = fc.constantFrom<readonly [string, JsonObject]>(
  ["blockdev-add", { driver: "memory", "node-name": "n", size: 65_536 }],
  ["blockdev-add", { driver: "raw", "node-name": "k", file: "src" }],
  ["blockdev-del", { "node-name": "n" }],
  ["blockdev-mirror", { "job-id": "j", device: "src", target: "dst", sync: "full" }],
  ["blockdev-mirror", { "job-id": "k", device: "src", target: "n", sync: "none", "auto-dismiss": false }],
  ["job-complete", { id: "j" }],
  ["job-cancel", { id: "j" }],
  ["block-job-cancel", { device: "k" }],
  ["job-dismiss", { id: "k" }],
  ["block_resize", { "node-name": "n", size: 512 }],
  ["block-dirty-bitmap-add", { node: "src", name: "b" }],
  ["block-dirty-bitmap-remove", { node: "src", name: "b" }],
  ["transaction", { actions: [{ type: "block-dirty-bitmap-clear", data: { node: "src", name: "b" } }] }],
  ["query-named-block-nodes", {}],
  ["query-block-jobs", {}],
);
const anyCommand = fc.oneof(
  fc.tuple(fc.constantFrom(...COMMANDS), anyArguments),
  fc.tuple(likely, anyArguments).map(([[name, args], more]) => [name, { ...more, ...args }] as const),
  likely,
);

const ID = "blockmirror-witness";

async function mustAnswer(side: Side): Promise<void> {
  expect(await side.client.execute("query-version")).toHaveProperty("qemu.major", 7);
}

test(
  "whatever is asked is answered once, in order, and hurts nobody else",
  async () => {
    const errors: unknown[] = [];
    await using side = await startHarmless(errors);
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyCommand, { maxLength: 12 }),
        fc.integer({ min: 1, max: 400 }),
        async (asked, piece) => {
          const monitor = new RawMonitor(side.socketPath);
          const requests = [
            { execute: "qmp_capabilities", id: -1 },
            ...asked.map(([execute, args], id) => ({ execute, arguments: args, id })),
          ];
          await monitor.send(Buffer.from(requests.map((request) => JSON.stringify(request)).join("")), piece);
          const [greeting, ...answers] = await monitor.finish();
          expect(greeting).toHaveProperty("QMP");
          const replies = answers.filter((answer) => answer["event"] === undefined);
          expect(replies.map(({ id }) => id)).toEqual(requests.map(({ id }) => id));
          for (const reply of replies) {
            const { return: result, error } = reply;
            expect((result === undefined) !== (error === undefined)).toBe(true);
            if (error !== undefined)
              expect(error).toEqual({ class: expect.any(String), desc: expect.any(String) });
          }
          await mustAnswer(side);
        },
      ),
      fuzzing(80),
    );
    // Mistakes of ours would be told of here; refusals are not.
    expect(errors).toEqual([]);
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "damaged bytes are answered with errors, and the reader finds its way back",
  async () => {
    const errors: unknown[] = [];
    await using side = await startHarmless(errors);
    const damage = fc.array(fc.record({ at: fc.nat(2000), to: fc.nat(255) }), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyCommand, { maxLength: 6 }),
        damage,
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 1, max: 300 }),
        async (asked, changes, noise, piece) => {
          const monitor = new RawMonitor(side.socketPath);
          const text = asked
            .map(([execute, args]) => JSON.stringify({ execute, arguments: args }))
            .join("\n");
          const bytes = Buffer.concat([Buffer.from(text), noise]);
          for (const { at, to } of changes) if (at < bytes.length) bytes[at] = to;
          await monitor.send(Buffer.from('{"execute": "qmp_capabilities"}'));
          await monitor.send(bytes, piece);
          // A byte that is in no JSON brings every reader back to the beginning of a message.
          await monitor.send(
            Buffer.concat([
              Buffer.from([0xff]),
              Buffer.from(JSON.stringify({ execute: "query-jobs", id: ID })),
            ]),
          );
          const messages = await monitor.finish();
          for (const message of messages) {
            expect(["QMP", "return", "error", "event"].filter((key) => key in message)).toHaveLength(1);
          }
          expect(messages.filter(({ id }) => id === ID)).toEqual([{ return: expect.any(Array), id: ID }]);
          await mustAnswer(side);
        },
      ),
      fuzzing(80),
    );
    expect(errors).toEqual([]);
  },
  FUZZ_TIMEOUT_MS,
);

test(
  "clients that vanish in the middle of anything leave nothing behind that hurts others",
  async () => {
    const errors: unknown[] = [];
    await using side = await startHarmless(errors);
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyCommand, { minLength: 1, maxLength: 8 }),
        fc.nat(600),
        async (asked, cut) => {
          const monitor = new RawMonitor(side.socketPath);
          const text = asked.map(([execute, args]) => JSON.stringify({ execute, arguments: args })).join("");
          const bytes = Buffer.from(`{"execute": "qmp_capabilities"}${text}`);
          await monitor.send(bytes.subarray(0, Math.min(cut, bytes.byteLength)));
          await new Promise(setImmediate);
          monitor.socket.destroy();
          await monitor.ended;
          await mustAnswer(side);
        },
      ),
      fuzzing(80),
    );
    expect(errors).toEqual([]);
  },
  FUZZ_TIMEOUT_MS,
);
