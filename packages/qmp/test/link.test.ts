import { describe, expect, it } from "vitest";

import { BackOff, QmpLink, type QmpLinkState } from "../src/index.ts";
import { FakePeer } from "./support/fake-peer.ts";
import { afterTest, socketPath } from "./support/sockets.ts";
import { waitUntil } from "./support/wait-until.ts";

/** Waits that end when the test says so. */
class Waits {
  readonly asked: number[] = [];
  #release: (() => void) | undefined;

  readonly delay = async (ms: number, signal: AbortSignal): Promise<void> => {
    this.asked.push(ms);
    await new Promise<void>((resolve) => {
      this.#release = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  };

  async next(): Promise<void> {
    await waitUntil(() => this.#release !== undefined);
    this.#release?.();
    this.#release = undefined;
  }
}

const exact = { firstMs: 100, maxMs: 500, factor: 2, jitter: 0 };

async function until(link: QmpLink, name: QmpLinkState["state"]): Promise<QmpLinkState> {
  for await (const state of link.states()) if (state.state === name) return state;
  throw new Error(`closed before ${name}`);
}

describe("a link", () => {
  it("connects again after the connection was lost, and waits little at first", async () => {
    const peer = await FakePeer.start();
    const waits = new Waits();
    const link = new QmpLink(peer.path, { backOff: exact, delay: waits.delay }).start();
    afterTest(() => link.close());
    await until(link, "connected");
    const first = link.client;
    expect(await first?.execute("query-jobs")).toEqual({});
    peer.hangUp();
    expect(await until(link, "waiting")).toMatchObject({ error: { code: "QMP_CLOSED" }, retryInMs: 100 });
    expect(link.client).toBeUndefined();
    await waits.next();
    await until(link, "connected");
    expect(link.client).not.toBe(first);
    peer.hangUp();
    await until(link, "waiting");
    expect(waits.asked).toEqual([100, 100]);
  });

  it("waits longer each time that nothing answers, up to a limit", async () => {
    const waits = new Waits();
    const link = new QmpLink(await socketPath(), { backOff: exact, delay: waits.delay }).start();
    afterTest(() => link.close());
    for (let attempt = 0; attempt < 5; attempt += 1) {
      expect(await until(link, "waiting")).toMatchObject({ error: { code: "QMP_CONNECT" } });
      await waits.next();
      await until(link, "connecting");
    }
    await until(link, "waiting");
    expect(waits.asked).toEqual([100, 200, 400, 500, 500, 500]);
  });

  it("tells a busy monitor apart", async () => {
    const peer = await FakePeer.start();
    peer.greeting = undefined;
    const waits = new Waits();
    const link = new QmpLink(peer.path, { greetingTimeoutMs: 10, delay: waits.delay }).start();
    afterTest(() => link.close());
    expect(await until(link, "waiting")).toMatchObject({ error: { code: "QMP_BUSY" } });
  });

  it("closes while connected, while waiting, while connecting, and before it was started", async () => {
    const peer = await FakePeer.start();
    const connected = new QmpLink(peer.path).start();
    const states: string[] = [];
    const watching = (async () => {
      for await (const { state } of connected.states()) states.push(state);
    })();
    await until(connected, "connected");
    await connected.close();
    await watching;
    expect(states).toEqual(["connecting", "connected", "closed"]);
    expect(connected.state).toEqual({ state: "closed" });

    const waiting = new QmpLink(await socketPath(), { backOff: { firstMs: 60_000, maxMs: 60_000 } }).start();
    await until(waiting, "waiting");
    await waiting.close();
    await waiting.close();

    peer.greeting = undefined;
    const connecting = new QmpLink(peer.path, { greetingTimeoutMs: 60_000 }).start();
    await waitUntil(() => peer.sockets.length === 2);
    await connecting.close();

    const idle = new QmpLink(peer.path);
    await idle.close();
    expect(await idle.states().next()).toMatchObject({ value: { state: "closed" } });
  });

  it("ends with the signal", async () => {
    const peer = await FakePeer.start();
    const controller = new AbortController();
    await using link = new QmpLink(peer.path, { signal: controller.signal }).start();
    await until(link, "connected");
    const client = link.client;
    controller.abort();
    await until(link, "closed");
    expect(client?.isOpen).toBe(false);
  });
});

describe("the back-off", () => {
  it("leaves a part to chance", () => {
    const backOff = new BackOff({ firstMs: 1000, maxMs: 2000, jitter: 0.5, random: () => 1 });
    expect([backOff.next(), backOff.next(), backOff.next()]).toEqual([500, 1000, 1000]);
    backOff.reset();
    expect(backOff.next()).toBe(500);
  });

  it.each([{ firstMs: 0 }, { firstMs: 10, maxMs: 5 }, { factor: 0.5 }, { jitter: 2 }])(
    "refuses %o",
    (options) => {
      expect(() => new BackOff(options)).toThrow(RangeError);
    },
  );
});
