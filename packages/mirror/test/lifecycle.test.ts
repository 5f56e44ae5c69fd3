import { describe, expect, it } from "vitest";
import { KIB, MIB, openRig, seededRandom } from "./support/rig.ts";

describe("cancel", () => {
  it("stops before READY without finishing, and frees everything (S25.1)", async () => {
    const rig = await openRig({ size: 64 * MIB, latency: () => 10 });
    rig.fill("source", 0, 64 * MIB, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ speed: 16 * MIB });
    await rig.clock.advance(1000);
    job.cancel();
    expect(await rig.run(job.done)).toMatchObject({ outcome: "cancelled" });
    expect(rig.history().slice(-3)).toEqual(["aborting", "BLOCK_JOB_CANCELLED", "concluded"]);
    expect(rig.graph.find("#mirror-m0")).toBeUndefined();
    expect(guest.node).toBe(rig.source);
    expect(job.snapshot().details?.inFlightOperations).toBe(0);
  });

  it("finishes the copy after READY, leaves the guests on the source, and counts as completed (S26)", async () => {
    const rig = await openRig({ size: 8 * MIB, latency: () => 2 });
    rig.fill("source", 0, 8 * MIB, 1);
    const guest = rig.guest();
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    await rig.run(Promise.resolve(guest.write(MIB, [Buffer.alloc(MIB, 2)])));
    mirror.job.cancel();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(rig.history()).toContain("BLOCK_JOB_COMPLETED");
    expect(mirror.switched).toBe(false);
    expect(guest.node).toBe(rig.source);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  });

  it("aborts at once by force after READY", async () => {
    const rig = await openRig({ size: MIB });
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    job.cancel({ force: true });
    expect((await rig.run(job.done)).outcome).toBe("cancelled");
  });

  it("does not lose a force to a later soft cancel", async () => {
    const rig = await openRig({ size: MIB });
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    job.cancel({ force: true });
    if (job.can("cancel").allowed) job.cancel();
    expect((await rig.run(job.done)).outcome).toBe("cancelled");
  });
});

describe("somebody else's drained section", () => {
  it("that begins while the job waits for guests to come to rest is kept, and the job ends after it", async () => {
    const rig = await openRig({ size: MIB });
    rig.fill("source", 0, MIB, 1);
    const guest = rig.guest();
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    await rig.clock.advance(200);
    rig.sourceFaults.add({ operation: "write", nth: 1, delayMs: 50 });
    void guest.write(0, [Buffer.alloc(KIB, 9)]);
    await mirror.job.complete();
    await rig.clock.advance(10);
    const section = await rig.run(rig.graph.drain(rig.target));
    const before = rig.content("target");
    await rig.clock.advance(1000);
    expect(rig.content("target").equals(before)).toBe(true);
    expect(mirror.switched).toBe(false);
    await rig.run(Promise.resolve(guest.write(KIB, [Buffer.alloc(KIB, 8)])));
    section.end();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(true);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  });

  it("on the target in PENDING is kept when the job is finalized meanwhile", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await rig.mirror({ autoFinalize: false });
    await rig.until("BLOCK_JOB_READY");
    await mirror.job.complete();
    await rig.until("BLOCK_JOB_PENDING");
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 9)])));
    const section = await rig.run(rig.graph.drain(rig.target));
    mirror.job.finalize();
    await rig.clock.advance(1000);
    expect(rig.content("target")[0]).toBe(0);
    section.end();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  });
});

describe("complete", () => {
  it("is refused before READY, without side effect (S27.1, D6)", async () => {
    const rig = await openRig({ size: 8 * MIB, latency: () => 5 });
    rig.fill("source", 0, 8 * MIB, 1);
    const { job } = await rig.mirror({ speed: MIB });
    await expect(job.complete()).rejects.toMatchObject({ code: "JOB_VERB_REFUSED" });
    await rig.clock.advance(500);
    expect(job.status).toBe("running");
    job.cancel();
    await rig.run(job.done);
  });

  it("leads every guest to the target at one instant; nothing acknowledged is lost (S29.3)", async () => {
    const rig = await openRig({ size: 8 * MIB, latency: () => 1 });
    rig.fill("source", 0, 4 * MIB, 1);
    const guests = [rig.guest(), rig.guest()];
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    const completing = mirror.job.complete();
    const writes = guests.map((guest, index) =>
      Promise.resolve(guest.write(5 * MIB + index, [Buffer.of(40 + index)])),
    );
    await rig.run(Promise.all([completing, mirror.job.done, ...writes]));
    expect(mirror.switched).toBe(true);
    for (const guest of guests) expect(guest.node).toBe(rig.target);
    const target = rig.content("target");
    expect([target[5 * MIB], target[5 * MIB + 1]]).toEqual([40, 41]);
    // And the guests go on there.
    await rig.run(Promise.resolve(guests[0]?.write(0, [Buffer.of(99)])));
    expect(rig.content("target")[0]).toBe(99);
    expect(rig.content("source")[0]).toBe(1);
  });

  it("is harmless when repeated (S27.6, upstream 9ac85f4cc7)", async () => {
    const rig = await openRig({ size: MIB });
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    await rig.run(Promise.all([job.complete(), job.complete(), job.complete()]));
    expect((await rig.run(job.done)).outcome).toBe("completed");
  });

  it("converges against a guest that never stops writing, holding it only briefly", async () => {
    const rig = await openRig({ size: 16 * MIB, latency: () => 1 });
    rig.fill("source", 0, 16 * MIB, 1);
    const guest = rig.guest();
    const random = seededRandom(7);
    const guestLife = { over: false };
    let longestMs = 0;
    const writing = (async () => {
      while (!guestLife.over) {
        const began = rig.clock.now();
        await guest.write(Math.floor(random() * (16 * MIB - 4 * KIB)) & ~511, [Buffer.alloc(4 * KIB, 3)]);
        longestMs = Math.max(longestMs, rig.clock.now() - began);
      }
    })();
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    await rig.run(job.complete());
    expect((await rig.run(job.done)).outcome).toBe("completed");
    guestLife.over = true;
    await rig.run(writing);
    expect(guest.node).toBe(rig.target);
    expect(longestMs).toBeLessThan(250);
  });

  it("waits for the resume of a paused job (S27.4)", async () => {
    const rig = await openRig({ size: MIB });
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    job.pause();
    await rig.clock.advance(300);
    expect(job.status).toBe("standby");
    await job.complete();
    await rig.clock.advance(2000);
    expect(job.status).toBe("standby");
    job.resume();
    expect((await rig.run(job.done)).outcome).toBe("completed");
  });

  it("fails the job and leaves the guests where they are when a user of the target excludes them at the switch", async () => {
    const rig = await openRig({ size: MIB });
    // The commit and the job get along on the target; the commit and the guest do not.
    const guest = rig.graph.attach(rig.source, { name: "guest", uses: ["write"], shares: ["read"] });
    const claim = { uses: ["write-unchanged"], shares: ["read", "write", "write-unchanged"] } as const;
    rig.graph.attach(rig.target, { name: "commit", ...claim });
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    await rig.run(mirror.job.complete());
    const result = await rig.run(mirror.job.done);
    expect(result).toMatchObject({ outcome: "failed", error: { code: "EBUSY" } });
    expect(result.cleanupError).toBeUndefined();
    expect(mirror.switched).toBe(false);
    expect(guest.node).toBe(rig.source);
    await guest.write(0, [Buffer.of(1)]);
  });
});

describe("finalize by hand", () => {
  it("does not hold guests while the job is PENDING, and copies what they wrote meanwhile", async () => {
    const rig = await openRig({ size: 4 * MIB, latency: () => 1 });
    rig.fill("source", 0, MIB, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ autoFinalize: false });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(job.complete());
    await rig.until("BLOCK_JOB_PENDING");
    for (let index = 0; index < 20; index += 1) {
      await rig.run(Promise.resolve(guest.write(index * 100_000, [Buffer.alloc(5000, index + 1)])));
    }
    expect(guest.node).not.toBe(rig.target);
    const before = rig.content("source");
    job.finalize();
    expect((await rig.run(job.done)).outcome).toBe("completed");
    expect(guest.node).toBe(rig.target);
    expect(rig.content("target").equals(before)).toBe(true);
  });

  it("can still be cancelled while PENDING", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const { job } = await rig.mirror({ autoFinalize: false });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(job.complete());
    await rig.until("BLOCK_JOB_PENDING");
    job.cancel({ force: true });
    expect((await rig.run(job.done)).outcome).toBe("cancelled");
    expect(guest.node).toBe(rig.source);
  });
});

describe("pause and drain", () => {
  it("parks with nothing in flight, and goes on after resume", async () => {
    const rig = await openRig({ size: 32 * MIB, latency: () => 3 });
    rig.fill("source", 0, 32 * MIB, 1);
    const { job } = await rig.mirror({ speed: 8 * MIB });
    await rig.clock.advance(500);
    job.pause();
    await rig.clock.advance(200);
    expect(job.status).toBe("paused");
    expect(job.snapshot().details?.inFlightOperations).toBe(0);
    const copied = job.snapshot().details?.bytesCopied;
    await rig.clock.advance(10_000);
    expect(job.snapshot().details?.bytesCopied).toBe(copied);
    job.resume();
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it.each(["source", "target"] as const)(
    "is quiet while the %s is drained, and goes on afterwards",
    async (side) => {
      const rig = await openRig({ size: 32 * MIB, latency: () => 3 });
      rig.fill("source", 0, 32 * MIB, 1);
      const { job } = await rig.mirror({ speed: 8 * MIB });
      await rig.clock.advance(300);
      const section = await rig.run(rig.graph.drain(rig[side]));
      expect(job.snapshot().details?.inFlightOperations).toBe(0);
      expect(job.status).toBe("paused");
      const copied = job.snapshot().details?.bytesCopied;
      await rig.clock.advance(1000);
      expect(job.snapshot().details?.bytesCopied).toBe(copied);
      section.end();
      await rig.clock.advance(1000);
      expect(job.status).toBe("running");
      expect(job.snapshot().details?.bytesCopied).toBeGreaterThan(copied ?? 0);
      job.cancel();
      await rig.run(job.done);
    },
  );

  it("completes although somebody else drains the source at the same time", async () => {
    const rig = await openRig({ size: MIB, latency: () => 1 });
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    const section = await rig.run(rig.graph.drain(rig.source));
    await rig.run(job.complete());
    await rig.clock.advance(500);
    expect(job.status).toBe("standby");
    section.end();
    expect((await rig.run(job.done)).outcome).toBe("completed");
  });
});

describe("speed", () => {
  it("keeps to the limit exactly on average, whatever the size of an operation (S21.2, D1)", async () => {
    const rig = await openRig({ size: 64 * MIB, latency: () => 1 });
    rig.fill("source", 0, 64 * MIB, 1);
    const { job } = await rig.mirror({ speed: 8 * MIB });
    await rig.until("BLOCK_JOB_READY");
    const rate = (64 * MIB * 1000) / rig.clock.now();
    expect(Math.abs(rate / (8 * MIB) - 1)).toBeLessThan(0.03);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("holds after READY too (S21.5, D26)", async () => {
    const rig = await openRig({ size: 16 * MIB });
    const guest = rig.guest();
    const { job } = await rig.mirror({ speed: MIB });
    await rig.until("BLOCK_JOB_READY");
    await guest.write(0, [Buffer.alloc(8 * MIB, 1)]);
    const before = job.snapshot().details?.bytesCopied ?? 0;
    await rig.clock.advance(4000);
    const copied = (job.snapshot().details?.bytesCopied ?? 0) - before;
    expect(copied).toBeGreaterThan(2 * MIB);
    expect(copied).toBeLessThanOrEqual(5 * MIB + MIB);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("applies a new speed at once, also to a job that sleeps off a debt (S21.4)", async () => {
    const rig = await openRig({ size: 16 * MIB });
    rig.fill("source", 0, 16 * MIB, 1);
    const { job } = await rig.mirror({ speed: 64 * KIB });
    await rig.clock.advance(1000);
    expect(job.status).toBe("running");
    job.setSpeed(0);
    await rig.until("BLOCK_JOB_READY");
    expect(rig.clock.now()).toBeLessThan(2000);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("charges nothing for zeroes that cost nothing", async () => {
    const rig = await openRig({ size: 64 * MIB });
    rig.fill("target", 0, 64 * MIB, 1);
    const { job } = await rig.mirror({ speed: MIB });
    await rig.until("BLOCK_JOB_READY");
    expect(rig.clock.now()).toBeLessThan(1000);
    job.cancel({ force: true });
    await rig.run(job.done);
  });
});

describe("progress", () => {
  it("starts at nothing of everything, never runs back, and ends with offset equal to length (S22.4, S23)", async () => {
    const rig = await openRig({ size: 16 * MIB, latency: () => 2 });
    rig.fill("source", 0, 12 * MIB, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ speed: 8 * MIB });
    expect(job.snapshot()).toMatchObject({ offset: 0 });
    let last = 0;
    for (let step = 0; step < 40 && job.status === "running"; step += 1) {
      void Promise.resolve(guest.write(step * 4096, [Buffer.of(step)])).catch(() => {});
      await rig.clock.advance(100);
      const { offset, length } = job.snapshot();
      expect(offset).toBeGreaterThanOrEqual(last);
      expect(offset).toBeLessThanOrEqual(length);
      last = offset;
    }
    await rig.until("BLOCK_JOB_READY");
    const ready = rig.events.find((event) => event.event === "BLOCK_JOB_READY");
    expect(ready?.data).toMatchObject({ device: "m0", type: "mirror" });
    if (ready?.event === "BLOCK_JOB_READY") expect(ready.data.offset).toBe(ready.data.len);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("does not say so of a job that is only slow to begin, while nobody writes", async () => {
    const rig = await openRig({ size: 64 * MIB, latency: () => 4000 });
    rig.fill("source", 0, 64 * MIB, 1);
    const { job } = await rig.mirror();
    const told = new Set<unknown>();
    for (let step = 0; step < 60; step += 1) {
      await rig.clock.advance(100);
      told.add(job.snapshot().details?.etaSec);
    }
    expect(told).not.toContain("never");
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("says that it does not converge when the guest dirties faster than it copies", async () => {
    const rig = await openRig({ size: 64 * MIB, latency: () => 1 });
    rig.fill("source", 0, 64 * MIB, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ speed: 2 * MIB });
    const guestLife = { over: false };
    const writing = (async () => {
      for (let index = 0; !guestLife.over; index += 1)
        await guest.write(((index * 7) % 960) * 64 * KIB, [Buffer.alloc(64 * KIB, 2)]);
    })();
    await rig.clock.advance(20_000);
    const details = job.snapshot().details;
    expect(details?.etaSec).toBe("never");
    expect(details?.dirtyRateBytesPerSec).toBeGreaterThan(MIB);
    guestLife.over = true;
    job.cancel();
    await rig.run(Promise.all([writing, job.done]));
  });
});
