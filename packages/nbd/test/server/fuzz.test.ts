import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Option, OPTION_MAGIC } from "../../src/protocol/constants.ts";
import { RawClient, string, u16, u32 } from "./support/raw-client.ts";
import { SEED, serve } from "./support/serving.ts";

const RUNS = Number(process.env["BLOCKMIRROR_FUZZ_RUNS"] ?? 40);

/** Where a byte is changed, and to what. */
const damage = fc.array(fc.record({ at: fc.nat(600), to: fc.nat(255) }), { maxLength: 6 });

function option(number: number, data: Buffer): Buffer {
  return Buffer.concat([OPTION_MAGIC, u32(number, data.byteLength), data]);
}

test("damaged handshakes and requests end at most their own connection", async () => {
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
    { seed: SEED, numRuns: RUNS },
  );
  witness.close();
  await server.close({ graceMs: 100 });
  expect(server.connectionCount).toBe(0);
});
