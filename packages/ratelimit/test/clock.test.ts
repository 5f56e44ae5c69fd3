import { describe, expect, it } from "vitest";
import { EagerClock, FakeClock, systemClock } from "../src/index.ts";

describe("the machine's clock", () => {
  it("does not wake early, and never inside schedule", async () => {
    for (const delayMs of [0, 0.3, 2.6]) {
      const startMs = systemClock.now();
      let returned = false;
      await new Promise<void>((resolve) => {
        systemClock.schedule(delayMs, () => {
          expect(returned).toBe(true);
          resolve();
        });
        returned = true;
      });
      // Platform timers count from the start of the event loop's turn, so up to 1 ms may be missing.
      expect(systemClock.now() - startMs).toBeGreaterThan(delayMs - 1);
    }
  });

  it("forgets a timer", async () => {
    let fired = false;
    const fire = (): void => {
      fired = true;
    };
    for (const delayMs of [0, 1]) systemClock.schedule(delayMs, fire)();
    await new Promise<void>((resolve) => {
      systemClock.schedule(5, resolve);
    });
    expect(fired).toBe(false);
  });

  it("takes delays beyond what a platform timer holds", () => {
    const forget = systemClock.schedule(1e12, () => {
      throw new Error("fired at once");
    });
    forget();
  });
});

describe("FakeClock", () => {
  it("stands still until told", async () => {
    const clock = new FakeClock({ startMs: 7 });
    await clock.settle();
    expect(clock.now()).toBe(7);
  });

  it("fires in order of time, then of creation, including timers made on the way", async () => {
    const clock = new FakeClock();
    const seen: string[] = [];
    const note = (name: string) => () => {
      seen.push(`${name}@${clock.now()}`);
    };
    clock.schedule(20, note("late"));
    clock.schedule(10, note("first"));
    clock.schedule(10, () => {
      note("second")();
      clock.schedule(5, note("made"));
    });
    expect(clock.nextTimerMs).toBe(10);
    await clock.advance(20);
    expect(seen).toEqual(["first@10", "second@10", "made@15", "late@20"]);
    expect([clock.pendingTimers, clock.nextTimerMs, clock.now()]).toEqual([0, undefined, 20]);
  });

  it("lets promise chains run between timers", async () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const sleep = (ms: number): Promise<void> =>
      new Promise((resolve) => {
        clock.schedule(ms, resolve);
      });
    const work = async (): Promise<void> => {
      for (let i = 0; i < 3; i += 1) {
        await sleep(10);
        seen.push(clock.now());
      }
    };
    void work();
    await clock.advance(100);
    expect(seen).toEqual([10, 20, 30]);
  });

  it("fires late when told to", async () => {
    const clock = new FakeClock({ latenessMs: (delayMs) => delayMs / 10 });
    let atMs = 0;
    clock.schedule(100, () => {
      atMs = clock.now();
    });
    await clock.advance(109);
    expect(atMs).toBe(0);
    await clock.advance(1);
    expect(atMs).toBe(110);
  });

  it("skips without firing, and does not go back for timers it passed", async () => {
    const clock = new FakeClock();
    let atMs = 0;
    clock.schedule(10, () => {
      atMs = clock.now();
    });
    clock.skip(50);
    expect(atMs).toBe(0);
    await clock.advance(0);
    expect(atMs).toBe(50);
  });

  it("runs until a promise settles, and answers like it", async () => {
    const clock = new FakeClock();
    const later = new Promise<string>((resolve) => {
      clock.schedule(1000, () => {
        resolve("done");
      });
    });
    expect(await clock.run(later)).toBe("done");
    expect(clock.now()).toBe(1000);
    await expect(clock.run(Promise.reject(new Error("no")))).rejects.toThrow("no");
  });

  it("says so when time does not bring what is waited for", async () => {
    const clock = new FakeClock();
    await expect(clock.run(new Promise(() => {}))).rejects.toThrow("no timer is pending");
    clock.schedule(1000, () => {});
    await expect(clock.run(new Promise(() => {}), 999)).rejects.toThrow("within 999 ms");
    expect(clock.now()).toBe(0);
  });

  it.each([-1, NaN, Infinity])("refuses to move by %d ms", async (ms) => {
    const clock = new FakeClock();
    await expect(clock.advance(ms)).rejects.toThrow(RangeError);
    expect(() => {
      clock.skip(ms);
    }).toThrow(RangeError);
  });
});

describe("EagerClock", () => {
  it("moves by its timers, without anybody waiting", async () => {
    const clock = new EagerClock();
    let returned = false;
    await new Promise<void>((resolve) => {
      clock.schedule(86_400_000, () => {
        expect(returned).toBe(true);
        resolve();
      });
      returned = true;
    });
    expect(clock.now()).toBe(86_400_000);
    await new Promise<void>((resolve) => {
      clock.schedule(0.5, resolve);
    });
    expect(clock.now()).toBe(86_400_000.5);
  });

  it("forgets a timer", async () => {
    const clock = new EagerClock();
    let fired = false;
    clock.schedule(5, () => (fired = true))();
    await new Promise<void>((resolve) => {
      clock.schedule(1, resolve);
    });
    expect([fired, clock.now()]).toEqual([false, 1]);
  });
});
