import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Option, OPTION_MAGIC } from "../../src/protocol/constants.ts";
import { FUZZ_TIMEOUT_MS, fuzzing } from "../support/fuzzing.ts";
import { RawClient, string, u16, u32 } from "./support/raw-client.ts";
import { serve } from "./support/serving.ts";

/** Where a byte is changed, and to what. */
const damage = fc.array(fc.record({ at: fc.nat(600), to: fc.nat(255) }), { maxLength: 6 });

function option(number: number, data: Buffer): Buffer {
  return Buffer.concat([OPTION_MAGIC, u32(number, data.byteLength), data]);
}

test(
  "damaged handshakes and requests end at most their own connection",
  async () => {
    const { address, server } = await serve({ server: { handshakeTimeoutMs: 2000 } });
    const witness = await RawClient.open(address, "disk");
    const go = option(Option.Go, Buffer.concat([string("disk"), u16(1, 3)]));
    const select = option(
      Option.SetMetaContext,
      Buffer.concat([string("disk"), u32(1), string("base:allocation")]),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(Option.StructuredReply, Option.ExtendedHeaders),
        fc.array(
          fc.record({
            command: fc.nat(9),
            flags: fc.nat(63),
            offset: fc.oneof(fc.nat(2 ** 20), fc.bigInt(0n, 2n ** 64n - 1n)),
            length: fc.oneof(fc.nat(70_000), fc.nat(0x7fffffff)),
          }),
          { maxLength: 12 },
        ),
        damage,
        async (form, requests, changes) => {
          const client = await RawClient.connect(address);
          client.extended = form === Option.ExtendedHeaders;
          const bytes = Buffer.concat([
            u32(3),
            option(form, Buffer.alloc(0)),
            select,
            go,
            ...requests.map((request) =>
              client.encode({
                ...request,
                ...(request.command === 1 && { payload: Buffer.alloc(request.length % 5000) }),
              }),
            ),
          ]);
          for (const { at, to } of changes) if (at < bytes.length) bytes[at] = to;
          client.reader.release();
          client.socket.resume();
          client.socket.end(bytes);
          await new Promise(setImmediate);
          client.close();
          expect((await witness.ask({ command: 0, length: 16 })).error).toBe(0);
        },
      ),
      fuzzing(40),
    );
    witness.close();
    await server.close({ graceMs: 100 });
    expect(server.connectionCount).toBe(0);
  },
  FUZZ_TIMEOUT_MS,
);

/** An option of any number with data that is almost what it ought to be, or noise. */
const anyOption = fc
  .record({
    number: fc.oneof(fc.integer({ min: 0, max: 12 }), fc.nat(0xffffffff)),
    name: fc.oneof(fc.constantFrom("disk", "", "gone"), fc.string({ maxLength: 40 })),
    counts: fc.array(fc.oneof(fc.nat(4), fc.nat(0xffff)), { maxLength: 4 }),
    query: fc.constantFrom("base:allocation", "base:", "qemu:", "x-none:", ""),
    noise: fc.uint8Array({ maxLength: 64 }),
    isShort: fc.boolean(),
  })
  .map(({ number, name, counts, query, noise, isShort }) => {
    const isMeta = number === Option.ListMetaContext || number === Option.SetMetaContext;
    const body = isMeta
      ? [string(name), u32(counts[0] ?? 1), string(query)]
      : [string(name), u16(counts.length, ...counts)];
    const data = Buffer.concat([...body, Buffer.from(noise)]);
    return option(number, isShort ? data.subarray(0, data.byteLength / 2) : data);
  });

test(
  "options of every kind, right and wrong, in pieces of any size, never hurt another client",
  async () => {
    const { address, server } = await serve({ server: { handshakeTimeoutMs: 2000 } });
    const witness = await RawClient.open(address, "disk");
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyOption, { maxLength: 8 }),
        fc.integer({ min: 1, max: 100 }),
        fc.uint8Array({ maxLength: 200 }),
        async (options, piece, noise) => {
          const client = await RawClient.connect(address);
          client.reader.release();
          client.socket.resume();
          const bytes = Buffer.concat([u32(3), ...options, Buffer.from(noise)]);
          for (let at = 0; at < bytes.byteLength; at += piece) {
            if (client.socket.destroyed || client.socket.writableEnded) break;
            client.socket.write(bytes.subarray(at, at + piece));
            if (at % (piece * 8) === 0) await new Promise(setImmediate);
          }
          client.close();
          expect((await witness.ask({ command: 0, length: 16 })).error).toBe(0);
        },
      ),
      fuzzing(60),
    );
    witness.close();
    await server.close({ graceMs: 100 });
    expect(server.connectionCount).toBe(0);
  },
  FUZZ_TIMEOUT_MS,
);
