import { BlockError, ExtentList } from "@blockmirror/block-driver";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { TransmissionFlag } from "../../src/protocol/constants.ts";
import { FUZZ_TIMEOUT_MS, fuzzing } from "../support/fuzzing.ts";
import { openNbd } from "./support/devices.ts";
import { FakeServer, PLAIN_FLAGS } from "./support/fake-server.ts";
import { ManualTimers } from "./support/manual-timers.ts";
import { until } from "./support/until.ts";

type Mutation = { readonly at: number; readonly kind: number; readonly value: number };

/** Changes the stream once it has come to byte `at`: another bit, a byte less, bytes more, a jump in a length, an end. */
function mutator(mutations: readonly Mutation[]): (bytes: Buffer) => Buffer {
  let position = 0;
  return (bytes) => {
    let changed = bytes;
    for (const { at, kind, value } of mutations) {
      const within = at - position;
      if (within < 0 || within >= bytes.byteLength) continue;
      const head = changed.subarray(0, within);
      const rest = changed.subarray(within);
      const flipped = Buffer.from(rest);
      if (flipped[0] !== undefined) flipped[0] ^= 1 << (value % 8);
      const variants = [
        [head, flipped],
        [head, rest.subarray(1)],
        [head, Buffer.alloc((value % 64) + 1, value), rest],
        [head, Buffer.alloc(4, 0xff), rest.subarray(4)],
        [head, Buffer.alloc(8, value), rest.subarray(8)],
        [head],
        [head, rest, rest],
      ];
      changed = Buffer.concat(variants[kind % variants.length] ?? []);
    }
    position += bytes.byteLength;
    return changed;
  };
}

/** A request may fail, but with nothing else than a BlockError. */
async function attempt(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}

/** Every request ends, well or with a BlockError, whatever the server sends. */
async function converse(server: FakeServer): Promise<void> {
  const timers = new ManualTimers();
  let isOver = false;
  const whole = (async () => {
    const device = await openNbd(
      {
        uri: server.uri,
        connections: 2,
        reconnectDelayMs: 500,
        openTimeoutMs: 300,
        requestTimeoutMs: 300,
        flushTimeoutMs: 300,
      },
      { timers },
    );
    const { edge } = device;
    await attempt(() => edge.read(0, [new Uint8Array(30_000)]));
    await Promise.all([
      ...Array.from({ length: 6 }, (_read, index) =>
        attempt(() => edge.read(index * 512, [new Uint8Array(700)])),
      ),
      attempt(() => edge.status(0, 65_536, new ExtentList(2))),
      attempt(() => edge.write(4096, [new Uint8Array(512)])),
      attempt(() => edge.writeZeroes(8192, 512)),
      attempt(() => edge.flush()),
    ]);
    await attempt(() => device.graph.closeAll());
  })();
  const ended = whole.then(
    () => (isOver = true),
    (error: unknown) => {
      isOver = true;
      if (!(error instanceof BlockError)) throw error;
    },
  );
  let turn = 0;
  await until(
    () => isOver,
    () => {
      turn += 1;
      if (turn % 8 === 0) timers.advance(20);
      expect(turn, "turns until every request has ended").toBeLessThan(100_000);
    },
  );
  await ended;
}

const mutation = fc.record({
  // Most of what matters is near the start of the handshake and around the headers of replies.
  at: fc.oneof(fc.nat(300), fc.nat(2000), fc.nat(60_000)),
  kind: fc.nat(6),
  value: fc.nat(255),
});

for (const form of ["simple", "structured", "extended"] as const) {
  test(
    `garbled ${form} conversations end, with a BlockError at worst`,
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
          const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
          await using server = await FakeServer.start({ form, flags });
          server.mutate = mutator(mutations);
          await converse(server);
        }),
        fuzzing(150),
      );
    },
    FUZZ_TIMEOUT_MS,
  );
}

test(
  "noise instead of a conversation ends as well, and takes no memory",
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 4096 }), fc.boolean(), async (noise, isGreeted) => {
        await using server = await FakeServer.start({
          onConnect: (peer) => {
            if (isGreeted) peer.raw(Buffer.from("NBDMAGICIHAVEOPT\0\u0003"));
            peer.raw(noise);
            return true;
          },
        });
        await converse(server);
      }),
      fuzzing(50),
    );
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(256 * 2 ** 20);
  },
  FUZZ_TIMEOUT_MS,
);
