import { describe, expect, it } from "vitest";
import { CopyModeGovernor, type Pressure } from "../src/copy-mode-governor.ts";
import { Deadline, type Standing } from "../src/deadline.ts";

const standing = (doneBytes: number, leftBytes: number, dirtyBytesPerSec = 0): Standing => ({
  doneBytes,
  firstBytes: doneBytes,
  leftBytes,
  dirtyBytesPerSec,
});

/** A copy of 1000 bytes that did 200 in 200 ms when it had all of the time, so that alone it takes 1000 ms. */
function measured(): Deadline {
  const deadline = new Deadline();
  deadline.begin(0, 1000);
  expect(deadline.isMeasuring(199, 199)).toBe(true);
  expect(deadline.isMeasuring(200, 200)).toBe(false);
  return deadline;
}

describe("whether the deadline is missed", () => {
  it("is not known before the copy was measured, nor once nothing is left", () => {
    const deadline = new Deadline();
    expect(deadline.isMeasuring(0, 0), "before the copy begins").toBe(false);
    deadline.begin(0, 1000);
    expect(deadline.isMeasuring(1000, 0), "nothing was copied").toBe(true);
    expect(deadline.isMissed(1000, standing(0, 1000))).toBe(false);
    expect(measured().isMissed(1_000_000, standing(1000, 0))).toBe(false);
  });

  it("a pace that would take more than twice as long as alone is too slow", () => {
    // 400 ms are left for 200 bytes in the first case, and 200 ms in the second.
    expect(measured().isMissedAtThisPace(1400, standing(800, 200))).toBe(false);
    expect(measured().isMissedAtThisPace(1800, standing(800, 200))).toBe(true);
    expect(measured().isMissed(1600, standing(800, 200))).toBe(false);
    expect(measured().isMissed(1900, standing(800, 200))).toBe(true);
  });

  it("what is dirtied meanwhile counts several times, and a copy that is outrun never comes", () => {
    expect(measured().isMissed(300, standing(300, 700, 100))).toBe(false);
    expect(measured().isMissed(300, standing(300, 700, 250))).toBe(true);
    expect(measured().isMissed(300, standing(300, 700, 1000))).toBe(true);
  });

  it("so does what was dirtied behind the copy already", () => {
    expect(measured().isMissed(300, standing(300, 700 + 150))).toBe(false);
    expect(measured().isMissed(300, standing(300, 700 + 170))).toBe(true);
  });

  it("a pause of the user is no delay", () => {
    const deadline = measured();
    deadline.pause(300);
    deadline.resume(60_300);
    expect(deadline.isMissed(60_400, standing(400, 700))).toBe(false);
    expect(deadline.isMissed(62_000, standing(400, 700))).toBe(true);
  });
});

describe("what automatic copy mode does about it", () => {
  const pressure: Pressure = {
    isReady: false,
    isEnding: false,
    isNearlyClean: false,
    leftBytes: 500,
    isLate: false,
    converging: false,
    etaSec: 1,
    guestBytesPerSec: 1,
    capacityBytesPerSec: 1000,
  };

  const late = { ...pressure, isLate: true };
  const ready = { ...pressure, isReady: true };

  /** One that has turned to write-blocking, and sees the job READY at 60 s. */
  function governorOfReadyJob(): CopyModeGovernor {
    const governor = new CopyModeGovernor();
    governor.decide(0, late);
    expect(governor.decide(100, late)).toBe("write-blocking");
    expect(governor.decide(60_000, ready)).toBe("background");
    return governor;
  }

  it("a copy that comes too late brings writes to both sides during its first pass, and until READY", () => {
    const governor = new CopyModeGovernor();
    expect(governor.decide(0, late)).toBe("background");
    expect(governor.decide(99, late)).toBe("background");
    expect(governor.decide(100, late)).toBe("write-blocking");
    expect(governor.decide(60_000, pressure), "guests that have become calm").toBe("write-blocking");
    expect(governor.decide(60_000, ready)).toBe("background");
  });

  it("a READY job that waits lets guests outrun it, as long as it can catch up within a second", () => {
    const governor = governorOfReadyJob();
    const outrun = { ...ready, converging: true, etaSec: "never", guestBytesPerSec: 5000 } as const;
    expect(governor.decide(60_100, outrun)).toBe("background");
    expect(governor.decide(90_000, { ...outrun, leftBytes: 1000 })).toBe("background");
    expect(governor.decide(90_100, { ...outrun, leftBytes: 1001 })).toBe("background");
    expect(governor.decide(90_200, { ...outrun, leftBytes: 1001 })).toBe("write-blocking");
    // To let them go at once would only bring the same again.
    expect(governor.decide(91_000, { ...outrun, leftBytes: 0, isNearlyClean: true })).toBe("write-blocking");
    const calm = { ...ready, leftBytes: 0, isNearlyClean: true };
    expect(governor.decide(92_000, calm)).toBe("write-blocking");
    expect(governor.decide(97_000, calm)).toBe("background");
  });

  it("a job that is told to end slows guests down, unless next to nothing is left", () => {
    const governor = governorOfReadyJob();
    const ending = { ...ready, isEnding: true };
    expect(governor.decide(61_000, { ...ending, isNearlyClean: true })).toBe("background");
    expect(governor.decide(62_000, ending)).toBe("background");
    expect(governor.decide(62_100, ending)).toBe("write-blocking");
    expect(governor.decide(99_000, ending), "until it has ended").toBe("write-blocking");
  });
});
