import { lacksPeers, nbdkit, PeerServer, qemuNbd } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { openNbd, readBytes } from "./support/devices.ts";
import { until } from "./support/until.ts";

const BLOCK = 64 * 1024;
const BLOCKS = 256;
const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);
const valueOf = (block: number, round: number): number => ((block * 7 + round * 13) % 255) + 1;

describe.skipIf(lacksPeers("qemu-nbd", "qemu-img", "nbdkit"))("a real server", () => {
  for (const connections of [1, 4]) {
    test(`killed and started again while ${connections} connections write to it loses nothing that it keeps`, async () => {
      const server = await qemuNbd("raw", BLOCK * BLOCKS);
      try {
        await using device = await openNbd({
          uri: server.uri,
          connections,
          reconnectDelayMs: 60_000,
          // qemu-nbd has handed to the kernel what it answered: its own death takes nothing along.
          unflushedWrites: "trust",
        });
        let next = 0;
        let kills = 0;
        const total = BLOCKS * 3;
        const writer = async (): Promise<void> => {
          while (next < total) {
            const index = next;
            next += 1;
            const [block, round] = [index % BLOCKS, Math.floor(index / BLOCKS)];
            await device.edge.write(block * BLOCK, [bytes(valueOf(block, round), BLOCK)]);
          }
        };
        const killer = async (): Promise<void> => {
          for (const at of [total / 8, total / 3, total / 2]) {
            await until(() => next >= at);
            await server.signal("SIGKILL");
            kills += 1;
            await server.start();
          }
        };
        // Writers stay within one round of each other by far less than a whole round, so no two overlap in time.
        await Promise.all([...Array.from({ length: 16 }, writer), killer()]);
        await device.edge.flush();
        expect(kills).toBe(3);
        for (let block = 0; block < BLOCKS; block += 1) {
          const expected = bytes(valueOf(block, 2), BLOCK);
          expect(Buffer.compare(await readBytes(device.edge, block * BLOCK, BLOCK), expected)).toBe(0);
        }
      } finally {
        await server.stop();
      }
    });
  }

  test("that forgot what it answered is found out before anybody trusts it", async () => {
    const server = await nbdkit("memory", "1M");
    try {
      await using device = await openNbd({ uri: server.uri, reconnectDelayMs: 60_000 });
      await device.edge.write(0, [bytes(1, BLOCK)]);
      await server.signal("SIGKILL");
      await server.start();
      const outcomes = await Promise.allSettled([
        (async () => device.edge.flush())(),
        readBytes(device.edge, 0, 512),
      ]);
      expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
      // Opened again it is a sound device, without the lost write.
      await device.graph.closeAll().catch(() => undefined);
      await using again = await openNbd({ uri: server.uri });
      expect(await readBytes(again.edge, 0, 512)).toEqual(bytes(0, 512));
    } finally {
      await server.stop();
    }
  });

  test("that is read only comes back without anybody noticing", async () => {
    const server = await nbdkit("pattern", "8M");
    try {
      await using device = await openNbd({ uri: server.uri, readOnly: true, reconnectDelayMs: 60_000 });
      const before = await readBytes(device.edge, 0, 8 * 2 ** 20);
      const reading = Array.from({ length: 64 }, async (_read, index) =>
        readBytes(device.edge, index * BLOCK, BLOCK),
      );
      await server.signal("SIGKILL");
      await server.start();
      reading.push(
        ...Array.from({ length: 64 }, async (_read, index) =>
          readBytes(device.edge, (64 + index) * BLOCK, BLOCK),
        ),
      );
      expect(Buffer.compare(Buffer.concat(await Promise.all(reading)), before)).toBe(0);
    } finally {
      await server.stop();
    }
  });

  test("that comes back with another size is refused", async () => {
    let size = "1M";
    const server = await new PeerServer("nbdkit", () => ["memory", size]).start();
    try {
      await using device = await openNbd({ uri: server.uri, reconnectDelayMs: 60_000 });
      await server.signal("SIGKILL");
      size = "2M";
      await server.start();
      // It may be found out before the request is made.
      await expect(async () => readBytes(device.edge, 0, 512)).rejects.toMatchObject({
        code: expect.stringMatching(/^(?:EIO|BLK_FENCED)$/),
      });
      await expect(async () => readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "BLK_FENCED" });
    } finally {
      await server.stop();
    }
  });

  test("that stops and goes on within the limit is waited for; beyond it, requests end with ETIMEDOUT", async () => {
    const server = await qemuNbd("raw", 1024 * 1024);
    try {
      await using patient = await openNbd({ uri: server.uri });
      await server.signal("SIGSTOP");
      const reading = readBytes(patient.edge, 0, 512);
      await server.signal("SIGCONT");
      expect(await reading).toEqual(bytes(0, 512));
      await using hasty = await openNbd({ uri: server.uri, requestTimeoutMs: 100, reconnectDelayMs: 0 });
      await server.signal("SIGSTOP");
      await expect(readBytes(hasty.edge, 0, 512)).rejects.toMatchObject({ code: "ETIMEDOUT" });
      await server.signal("SIGCONT");
      expect(await readBytes(hasty.edge, 0, 512)).toEqual(bytes(0, 512));
    } finally {
      await server.stop();
    }
  });
});
