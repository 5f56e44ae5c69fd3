import { ExtentList } from "@blockmirror/block-driver";
import { describe, expect, test } from "vitest";
import { createNbdDriver, isUnflushedLoss } from "../../src/index.ts";
import { Command, TransmissionFlag } from "../../src/protocol/constants.ts";
import { openNbd, readBytes } from "./support/devices.ts";
import { FakeServer, PLAIN_FLAGS, type FakePeer, type FakeRequest } from "./support/fake-server.ts";
import { ManualTimers } from "./support/manual-timers.ts";
import { turns, until } from "./support/until.ts";

const PATIENT = { reconnectDelayMs: 60_000 };
const hangUp = (peer: FakePeer): void => void peer.socket.destroy();
const bytes = (value: number, length = 512): Uint8Array => new Uint8Array(length).fill(value);

const silent = (): void => undefined;

/** Lets time pass until something is the case. */
function passTime(timers: ManualTimers, isSo: () => boolean): Promise<void> {
  return until(isSo, () => timers.advance(100));
}

/** A server that treats the requests whose numbers are given in its own way, and answers all others. */
function except(
  numbers: readonly number[],
  treat: (peer: FakePeer, request: FakeRequest) => void | Promise<void>,
): (peer: FakePeer, request: FakeRequest) => void | Promise<void> {
  return (peer, request) => (numbers.includes(request.number) ? treat(peer, request) : peer.answer(request));
}

describe("a request whose connection is lost is sent again when that is safe:", () => {
  test("a read, before, within and after its data", async () => {
    for (const sent of [0, 4, 20, 27, 28, 100, 4096]) {
      await using server = await FakeServer.start({
        onRequest: except([0], (peer, request) => {
          const reply = Buffer.concat([
            Buffer.from("668e33ef00010001", "hex"),
            request.cookie,
            Buffer.from([0, 0, 0x20, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
            Buffer.alloc(8192, 0xbb),
          ]);
          peer.socket.end(reply.subarray(0, sent));
        }),
      });
      server.disk.fill(3);
      await using device = await openNbd({ uri: server.uri, ...PATIENT });
      expect(await readBytes(device.edge, 0, 8192)).toEqual(bytes(3, 8192));
    }
  });

  test("status, without what the first answer left behind", async () => {
    await using server = await FakeServer.start({
      onRequest: except([0], (peer, request) => {
        const extents = Buffer.from("00000007000002000000000300000200", "hex");
        peer.socket.end(
          Buffer.concat([
            Buffer.from("668e33ef00010005", "hex"),
            request.cookie,
            Buffer.from([0, 0, 0, 20]),
            extents,
          ]),
        );
      }),
    });
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    const extents = new ExtentList();
    await device.edge.status(0, 65_536, extents);
    expect([extents.count, extents.next, extents.flagsAt(0)]).toEqual([1, 65_536, 1]);
  });

  test("a write, a zero request, a trim and a flush", async () => {
    await using server = await FakeServer.start({ onRequest: except([0, 2, 4, 6], hangUp) });
    await using device = await openNbd({ uri: server.uri, ...PATIENT, unflushedWrites: "trust" });
    await device.edge.write(512, [bytes(5)]);
    await device.edge.writeZeroes(1024, 512);
    await device.edge.discard(2048, 512);
    await device.edge.flush();
    expect(server.disk.subarray(0, 1536).equals(Buffer.concat([bytes(0), bytes(5), bytes(0)]))).toBe(true);
    expect(server.peers).toHaveLength(5);
  });

  test("many at once, and each is answered once", async () => {
    let seen = 0;
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        seen += 1;
        if (seen % 7 === 0) peer.socket.end();
        else if (peer.socket.writable) peer.answer(request);
      },
    });
    await using device = await openNbd({ uri: server.uri, ...PATIENT, unflushedWrites: "trust" });
    // Fewer than the attempts that a request has: every connection ends after six answers.
    await Promise.all(
      Array.from({ length: 24 }, async (_request, index) =>
        device.edge.write(index * 512, [bytes(index + 1)]),
      ),
    );
    for (let index = 0; index < 24; index += 1) expect(server.disk[index * 512]).toBe(index + 1);
  });

  test("but not for ever, when it is what ends the server", async () => {
    await using server = await FakeServer.start({ onRequest: hangUp });
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await expect(readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "EIO", operation: "read" });
    expect(server.peers).toHaveLength(5);
  });

  test("but not when an overlapping write was answered meanwhile", async () => {
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        if (request.number === 0) return;
        if (request.number === 1) peer.answer(request);
        else hangUp(peer);
      },
    });
    await using device = await openNbd({ uri: server.uri, ...PATIENT, unflushedWrites: "trust" });
    const first = device.edge.write(0, [bytes(1, 1024)]);
    const second = device.edge.write(512, [bytes(2, 1024)]);
    await second;
    const third = readBytes(device.edge, 0, 512);
    server.behaviour.onRequest = (peer, request) =>
      request.number === 2 ? hangUp(peer) : peer.answer(request);
    await expect(first).rejects.toMatchObject({ code: "EIO", operation: "write", offset: 0, length: 1024 });
    await third;
    expect(server.disk[512]).toBe(2);
  });
});

describe("writes that were answered and not flushed are not forgotten:", () => {
  test("when the server is lost, no flush and no read may pretend that they are there", async () => {
    await using server = await FakeServer.start();
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await device.edge.write(0, [bytes(1)]);
    server.behaviour.onRequest = except([1], hangUp);
    await expect(readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "EIO" });
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
    await expect(async () => readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "BLK_FENCED" });
    await expect(device.graph.closeAll()).rejects.toMatchObject({ code: "BLK_FENCED" });
  });

  test("which a program can tell from other losses, for trusting the server is a remedy", async () => {
    expect(await lost(true, "fail")).toEqual([true, true]);
    expect(await lost(true, "trust")).toEqual([false, false]);
    expect(await lost(false, "fail")).toEqual([false, false]);
    expect(isUnflushedLoss(undefined)).toBe(false);
  });

  test("a flush that was cut off does not count as one", async () => {
    await using server = await FakeServer.start({ onRequest: except([1], hangUp) });
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await device.edge.write(0, [bytes(1)]);
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "EIO" });
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
  });

  test("a write that was answered after the flush began is not covered by it", async () => {
    let flush: (() => void) | undefined;
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        if (request.command === Command.Flush) flush = () => peer.answer(request);
        else peer.answer(request);
      },
    });
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await device.edge.write(0, [bytes(1)]);
    const flushed = device.edge.flush();
    await device.edge.write(512, [bytes(2)]);
    flush?.();
    await flushed;
    server.behaviour.onRequest = hangUp;
    await expect(readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "EIO" });
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
  });

  test("flushed writes, and writes with FUA, survive a lost server", async () => {
    await using server = await FakeServer.start({ onRequest: except([2, 5], hangUp) });
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await device.edge.write(0, [bytes(1)]);
    await device.edge.flush();
    expect(await readBytes(device.edge, 0, 512)).toEqual(bytes(1));
    await device.edge.write(512, [bytes(2)], { fua: true });
    expect(await readBytes(device.edge, 512, 512)).toEqual(bytes(2));
    await device.edge.flush();
  });

  test("one connection that lives proves that the server does", async () => {
    const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
    await using server = await FakeServer.start({ flags });
    await using device = await openNbd({ uri: server.uri, connections: 2, ...PATIENT });
    // Held answers keep both connections busy, so that the second one is made.
    const held = new Map<FakePeer, (() => void)[]>();
    server.behaviour.onRequest = (peer, request) => {
      held.set(peer, [...(held.get(peer) ?? []), () => peer.answer(request)]);
    };
    const writes: Promise<void>[] = [];
    while (held.size < 2) {
      const index = writes.length % 64;
      writes.push((async () => device.edge.write(index * 512, [bytes(index + 1)]))());
      await turns(1);
    }
    server.behaviour.onRequest = (peer, request) => peer.answer(request);
    for (const answers of held.values()) for (const answer of answers) answer();
    await Promise.all(writes);
    const [first] = server.peers;
    const gone = new Promise((resolve) => first?.socket.once("close", resolve));
    first?.socket.destroy();
    await gone;
    await device.edge.flush();
    expect(await readBytes(device.edge, 0, 512)).toEqual(bytes(1));
  });

  test("a further connection may lead to another server, as long as the one there was does not answer", async () => {
    const timers = new ManualTimers();
    const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
    await using server = await FakeServer.start({ flags });
    const limits = { requestTimeoutMs: 1000, ...PATIENT };
    await using device = await openNbd({ uri: server.uri, connections: 2, ...limits }, { timers });
    await device.edge.write(0, [bytes(1)]);
    // Its machine loses power, and nothing tells so; another one takes its address, and has only what was flushed.
    server.disk.fill(0);
    const [first] = server.peers;
    server.behaviour.onRequest = (peer, request) => {
      if (peer !== first) peer.answer(request);
    };
    const reads: Promise<unknown>[] = [];
    const read = (): void => void reads.push(readBytes(device.edge, 0, 512).catch((error: unknown) => error));
    for (let count = 0; count < 4; count += 1) read();
    await until(() => server.peers.length === 2);
    await turns(20);
    read();
    await passTime(timers, () => first?.socket.destroyed === true || timers.now() > 60_000);
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
    for (const outcome of await Promise.all(reads)) {
      expect(outcome).toMatchObject({ code: expect.stringMatching(/^(?:ETIMEDOUT|BLK_FENCED)$/) });
    }
  });

  test("it is used as soon as that one has answered, or when nothing is at stake", async () => {
    for (const isFlushed of [false, true]) {
      const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
      await using server = await FakeServer.start({ flags });
      await using device = await openNbd({ uri: server.uri, connections: 2, ...PATIENT });
      await device.edge.write(0, [bytes(1)]);
      if (isFlushed) await device.edge.flush();
      const [first] = server.peers;
      const held: (() => void)[] = [];
      const users = new Set<FakePeer>();
      server.behaviour.onRequest = (peer, request) => {
        users.add(peer);
        if (peer === first) held.push(() => peer.answer(request));
        else peer.answer(request);
      };
      const reads = Array.from({ length: 4 }, () => readBytes(device.edge, 0, 512));
      await until(() => server.peers.length === 2 && held.length === 4);
      await turns(20);
      if (!isFlushed) held.shift()?.();
      await turns(20);
      expect(await readBytes(device.edge, 0, 512)).toEqual(bytes(1));
      expect(users.size).toBe(2);
      server.behaviour.onRequest = (peer, request) => peer.answer(request);
      for (const answer of held) answer();
      await Promise.all(reads);
    }
  });

  test("a server that comes back without the promise that a flush covers all connections gets one only", async () => {
    const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
    await using server = await FakeServer.start({ flags });
    await using device = await openNbd({ uri: server.uri, connections: 2, ...PATIENT });
    await device.edge.write(0, [bytes(1)], { fua: true });
    server.behaviour.flags = PLAIN_FLAGS;
    const users = new Set<FakePeer>();
    const held: (() => void)[] = [];
    server.behaviour.onRequest = (peer, request) => {
      users.add(peer);
      held.push(() => peer.answer(request));
    };
    server.peers[0]?.socket.destroy();
    const writes: Promise<void>[] = [];
    for (let index = 0; index < 32; index += 1) {
      writes.push((async () => device.edge.write(index * 512, [bytes(index + 1)]))());
      await turns(3);
    }
    await until(() => held.length === 32);
    server.behaviour.onRequest = (peer, request) => peer.answer(request);
    for (const answer of held) answer();
    await Promise.all(writes);
    expect(users.size).toBe(1);
  });

  test("one that has not the promise any more is not joined", async () => {
    const flags = PLAIN_FLAGS | TransmissionFlag.CanMultiConnection;
    await using server = await FakeServer.start({ flags });
    await using device = await openNbd({ uri: server.uri, connections: 2 });
    server.behaviour.flags = PLAIN_FLAGS;
    const users = new Set<FakePeer>();
    const held: (() => void)[] = [];
    server.behaviour.onRequest = (peer, request) => {
      users.add(peer);
      held.push(() => peer.answer(request));
    };
    const writes: Promise<void>[] = [];
    for (let index = 0; index < 32 || server.peers.length < 2; index += 1) {
      writes.push((async () => device.edge.write((index % 32) * 512, [bytes(1)]))());
      await turns(3);
    }
    await until(() => held.length === writes.length);
    server.behaviour.onRequest = (peer, request) => peer.answer(request);
    for (const answer of held) answer();
    await Promise.all(writes);
    expect([users.size, server.peers.length]).toEqual([1, 2]);
  });

  test("nor does a flush succeed beside one that failed: the server tells only one of them", async () => {
    const flushes: ((error: number) => void)[] = [];
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        if (request.command === Command.Flush) flushes.push((error) => peer.simple(request, error));
        else peer.answer(request);
      },
    });
    await using device = await openNbd({ uri: server.uri });
    await device.edge.write(0, [bytes(1)]);
    const results = Promise.allSettled([device.edge.flush(), device.edge.flush()]);
    await until(() => flushes.length === 2);
    flushes[0]?.(5);
    flushes[1]?.(0);
    expect(await results).toMatchObject([{ reason: { code: "EIO" } }, { reason: { code: "BLK_FENCED" } }]);
  });

  test("a flush that failed is not tried again", async () => {
    await using server = await FakeServer.start({
      onRequest: (peer, request) =>
        request.command === Command.Flush ? peer.simple(request, 5) : peer.answer(request),
    });
    await using device = await openNbd({ uri: server.uri });
    await device.edge.write(0, [bytes(1)]);
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "EIO" });
    await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
  });

  test("close does not flush to a server that has taken the place of theirs", async () => {
    await using server = await FakeServer.start({
      onRequest: except([0], (peer, request) => {
        // The last answer and what ends the connection arrive together.
        peer.raw(Buffer.from("67446698", "hex"), Buffer.alloc(4), request.cookie, Buffer.alloc(64, 0xee));
      }),
    });
    await using open = await openNbd({ uri: server.uri, ...PATIENT });
    const { device } = open.node;
    const writing = device.write?.(0, [bytes(1)]);
    const closing = device.close();
    await writing;
    await expect(closing).rejects.toMatchObject({ code: "BLK_FENCED" });
  });

  test("close flushes them, and says when it cannot", async () => {
    const commands: number[] = [];
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        commands.push(request.command);
        peer.answer(request);
      },
    });
    const device = await openNbd({ uri: server.uri });
    await device.edge.write(0, [bytes(1)]);
    await device.graph.closeAll();
    expect(commands).toEqual([Command.Write, Command.Flush]);
  });
});

describe("a server that does not come back:", () => {
  test("requests fail when the deadline is over, and the next one tries again", async () => {
    const timers = new ManualTimers();
    await using server = await FakeServer.start();
    await using device = await openNbd({ uri: server.uri, reconnectDelayMs: 1000 }, { timers });
    await server.vanish();
    let outcome: unknown;
    const reading = readBytes(device.edge, 0, 512).catch((error: unknown) => (outcome = error));
    await until(
      () => outcome !== undefined,
      () => timers.advance(50),
    );
    await reading;
    expect(outcome).toMatchObject({ code: "EIO", operation: "read" });
    expect(timers.now()).toBeLessThan(3000);
    await server.listen();
    await readBytes(device.edge, 0, 512);
  });

  test("without patience they fail at once, and the next one tries again", async () => {
    await using server = await FakeServer.start({ onRequest: except([0], hangUp) });
    await using device = await openNbd({ uri: server.uri, reconnectDelayMs: 0 });
    await expect(readBytes(device.edge, 0, 512)).rejects.toMatchObject({ code: "EIO" });
    await readBytes(device.edge, 0, 512);
  });

  test("an export of another size, or one that is read-only now, is refused for good", async () => {
    for (const change of [
      { size: 131_072 },
      { flags: PLAIN_FLAGS | TransmissionFlag.ReadOnly },
      { flags: 1 },
    ]) {
      await using server = await FakeServer.start({ onRequest: except([0], hangUp) });
      await using device = await openNbd({ uri: server.uri, ...PATIENT });
      Object.assign(server.behaviour, change);
      await expect(readBytes(device.edge, 0, 512)).rejects.toMatchObject({
        code: "EIO",
        message: expect.stringContaining("came back with another export"),
      });
      await expect(async () => device.edge.flush()).rejects.toMatchObject({ code: "BLK_FENCED" });
      await turns(20);
      expect(server.peers).toHaveLength(2);
    }
  });

  test("closing does not wait for it when nothing is at stake", async () => {
    await using server = await FakeServer.start();
    const device = await openNbd({ uri: server.uri, ...PATIENT });
    await server.vanish();
    await device.graph.closeAll();
  });
});

describe("a server that hangs:", () => {
  const limits = { requestTimeoutMs: 1000, flushTimeoutMs: 8000, reconnectDelayMs: 1000 };

  test("requests end with ETIMEDOUT, and writes are not sent again", async () => {
    const timers = new ManualTimers();
    await using server = await FakeServer.start({ onRequest: silent });
    await using device = await openNbd({ uri: server.uri, ...limits }, { timers });
    const outcomes: unknown[] = [];
    const note = (error: unknown): void => void outcomes.push(error);
    const all = [
      readBytes(device.edge, 0, 512).catch(note),
      Promise.resolve(device.edge.write(0, [bytes(1)])).catch(note),
    ];
    await passTime(timers, () => outcomes.length === 2);
    await Promise.all(all);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: "ETIMEDOUT" });
    server.behaviour.onRequest = (peer, request) => peer.answer(request);
    await readBytes(device.edge, 0, 512);
    expect(server.disk[0]).toBe(0);
  });

  test("a flush gets the longer limit, and what else is in flight with it", async () => {
    const timers = new ManualTimers();
    await using server = await FakeServer.start({ onRequest: silent });
    await using device = await openNbd({ uri: server.uri, ...limits }, { timers });
    const outcomes: unknown[] = [];
    const flushing = Promise.resolve(device.edge.flush()).catch((error: unknown) => outcomes.push(error));
    await passTime(timers, () => outcomes.length === 1);
    await flushing;
    expect(outcomes[0]).toMatchObject({ code: "ETIMEDOUT", operation: "flush" });
    expect(timers.now()).toBeGreaterThanOrEqual(8000);
  });

  test("one that answers slowly but goes on is not one", async () => {
    const timers = new ManualTimers();
    await using server = await FakeServer.start({
      onRequest: async (peer, request) => {
        const reply = Buffer.concat([
          Buffer.from("668e33ef00010001", "hex"),
          request.cookie,
          Buffer.from([0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0]),
          Buffer.alloc(8, 6),
        ]);
        for (const byte of reply) {
          peer.socket.write(Buffer.from([byte]));
          await turns(3);
          timers.advance(200);
        }
      },
    });
    await using device = await openNbd({ uri: server.uri, ...limits }, { timers });
    expect(await readBytes(device.edge, 0, 8)).toEqual(bytes(6, 8));
    expect(timers.now()).toBeGreaterThan(5000);
  });

  test("is not to be blamed when it is this process that was asleep", async () => {
    const timers = new ManualTimers();
    let answer: (() => void) | undefined;
    await using server = await FakeServer.start({
      onRequest: (peer, request) => {
        answer = () => peer.answer(request);
      },
    });
    await using device = await openNbd({ uri: server.uri, ...limits }, { timers });
    const reading = readBytes(device.edge, 0, 512);
    await until(() => answer !== undefined);
    timers.oversleep(9000);
    answer?.();
    expect(await reading).toEqual(bytes(0));
  });

  test("during the handshake, opening ends with ETIMEDOUT", async () => {
    const timers = new ManualTimers();
    await using server = await FakeServer.start({ onConnect: () => true });
    const opening = openNbd({ uri: server.uri, openTimeoutMs: 500 }, { timers });
    let isOver = false;
    const checked = expect(opening.finally(() => (isOver = true))).rejects.toMatchObject({
      code: "ETIMEDOUT",
    });
    await passTime(timers, () => isOver);
    await checked;
  });
});

describe("a signal:", () => {
  test("ends a read that waits for an answer, and what comes later goes nowhere", async () => {
    let answer: (() => void) | undefined;
    await using server = await FakeServer.start({
      onRequest: except([0], (peer, request) => {
        answer = () => peer.answer(request);
      }),
    });
    server.disk.fill(7);
    await using device = await openNbd({ uri: server.uri });
    const buffer = bytes(1);
    const cancel = new AbortController();
    const reading = Promise.resolve(device.edge.read(0, [buffer], { signal: cancel.signal }));
    await until(() => answer !== undefined);
    cancel.abort();
    await expect(reading).rejects.toMatchObject({ code: "ECANCELED" });
    answer?.();
    expect(await readBytes(device.edge, 0, 512)).toEqual(bytes(7));
    expect(buffer).toEqual(bytes(1));
  });

  test("ends a write that waits for the server to come back", async () => {
    await using server = await FakeServer.start();
    await using device = await openNbd({ uri: server.uri, ...PATIENT });
    await server.vanish();
    // The loss is noticed in a later turn; what is sent before that may have arrived.
    await turns(20);
    const cancel = new AbortController();
    const writing = Promise.resolve(device.edge.write(0, [bytes(1)], { signal: cancel.signal }));
    cancel.abort();
    await expect(writing).rejects.toMatchObject({ code: "ECANCELED" });
  });

  test("ends opening", async () => {
    await using server = await FakeServer.start({ onConnect: () => true });
    const driver = createNbdDriver();
    const cancel = new AbortController();
    const opening = driver.open(driver.options.parse({ uri: server.uri }, "test"), {
      nodeName: "test",
      readOnly: true,
      signal: cancel.signal,
      openChild: () => Promise.reject(new Error("no children")),
      openImplicit: () => Promise.reject(new Error("no children")),
      report: () => undefined,
      beginWork: () => () => undefined,
    });
    await until(() => server.peers.length > 0);
    cancel.abort();
    await expect(opening).rejects.toMatchObject({ code: "ECANCELED" });
  });
});

/** What the guard says of a read and a flush that met the loss of their server. */
async function lost(written: boolean, unflushedWrites: "fail" | "trust"): Promise<boolean[]> {
  await using server = await FakeServer.start();
  await using device = await openNbd({ uri: server.uri, ...PATIENT, unflushedWrites });
  if (written) await device.edge.write(0, [bytes(1)]);
  server.behaviour.onRequest = hangUp;
  const errors: unknown[] = [];
  for (const step of [() => readBytes(device.edge, 0, 512), async () => device.edge.flush()]) {
    await step().catch((error: unknown) => errors.push(error));
  }
  await device.graph.closeAll().catch(() => {});
  return errors.map(isUnflushedLoss);
}
