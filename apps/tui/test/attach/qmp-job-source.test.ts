import { describe, expect, it } from "vitest";
import { QmpJobSource } from "../../src/attach/qmp-job-source.ts";
import { FakeClock } from "../../src/job-source/clock.ts";
import type { JobSourceEvent } from "../../src/job-source/job-source.ts";
import { blockJob, FakePeer, settle } from "../support/fake-peer.ts";

const JOB_COMMANDS = {
  "job-pause": () => ({}),
  "job-resume": () => ({}),
  "job-complete": () => ({}),
  "job-cancel": () => ({}),
  "job-finalize": () => ({}),
  "job-dismiss": () => ({}),
  "block-job-cancel": () => ({}),
  "block-job-set-speed": () => ({}),
  "query-jobs": () => [],
};

interface Rig {
  readonly peer: FakePeer;
  readonly clock: FakeClock;
  readonly source: QmpJobSource;
  readonly events: JobSourceEvent[];
  /** Lets the source ask once more. */
  readonly tick: () => Promise<void>;
}

async function rig(
  jobs: readonly unknown[],
  answers: ConstructorParameters<typeof FakePeer>[0] = JOB_COMMANDS,
  endsWithJobs = false,
): Promise<Rig> {
  const peer = new FakePeer({ ...answers, "query-block-jobs": () => jobs });
  const clock = new FakeClock();
  const source = new QmpJobSource(peer, { name: "vm", clock, pollMs: 1000, endsWithJobs });
  const events: JobSourceEvent[] = [];
  source.subscribe((event) => {
    if (event.event !== "changed") events.push(event);
  });
  await settle();
  const tick = async (): Promise<void> => {
    clock.advance(1000);
    await settle();
  };
  return { peer, clock, source, events, tick };
}

describe("what a peer tells of its jobs", () => {
  it("is more where the peer is our own daemon, which is believed about time and errors before we came", async () => {
    const extra = {
      id: "j",
      phase: "converge",
      sync: "top",
      "copy-mode": "write-blocking",
      "copy-mode-automatic": true,
      "bytes-copied": 10,
      "bytes-zeroed": 3,
      "read-errors": 2,
      "write-errors": 1,
      "elapsed-ms": 90_000,
      "paused-ms": 4000,
      "cleanup-error": "the target hangs",
    };
    const { source } = await rig([blockJob()], {
      ...JOB_COMMANDS,
      "x-blockmirror-query-jobs": () => [extra],
    });
    expect(source.list()).toMatchObject([
      {
        id: "j",
        phase: "converge",
        sync: "top",
        copyMode: "write-blocking",
        copyModeIsAutomatic: true,
        bytesZeroed: 3,
        errorCount: 3,
        elapsedMs: 90_000,
        pausedMs: 4000,
        cleanupError: "the target hangs",
      },
    ]);
  });

  it("is as fresh as its last event, even before it is asked again", async () => {
    const { peer, source } = await rig([blockJob()]);
    peer.emit("JOB_STATUS_CHANGE", { id: "j", status: "paused" });
    expect(source.list()).toMatchObject([{ id: "j", status: "paused" }]);
  });

  it("becomes snapshots in the words of the table", async () => {
    const { source } = await rig([blockJob({ offset: 30, speed: 5, "actively-synced": true })]);
    expect(source.list()).toMatchObject([
      { id: "j", type: "mirror", status: "running", endpoint: "vm", offset: 30, length: 100, speed: 5 },
    ]);
    expect(source.list()[0]?.activelySynced).toBe(true);
  });

  it("is taken in part when parts of it are odd", async () => {
    const { source } = await rig([
      { device: "odd", len: "many", status: "dreaming", "io-status": 7 },
      { type: "mirror" },
      "nonsense",
      null,
    ]);
    expect(source.list()).toMatchObject([
      { id: "odd", type: "job", status: "running", length: 0, ioStatus: "ok" },
    ]);
  });

  it("includes jobs that are not block jobs", async () => {
    const { source } = await rig([blockJob()], {
      ...JOB_COMMANDS,
      "query-jobs": () => [
        { id: "j", type: "mirror", status: "running", "current-progress": 1, "total-progress": 2 },
        { id: "make", type: "create", status: "concluded", "current-progress": 1, "total-progress": 1 },
      ],
    });
    expect(source.list().map(({ id, status }) => [id, status])).toEqual([
      ["j", "running"],
      ["make", "concluded"],
    ]);
    expect(source.can("make", "dismiss")).toEqual({ allowed: true });
  });

  it("names both images of a job, from the graph", async () => {
    const { source } = await rig([blockJob()], {
      ...JOB_COMMANDS,
      "x-debug-query-block-graph": () => ({
        nodes: [
          { id: 1, type: "block-job", name: "j" },
          { id: 2, type: "block-driver", name: "disk" },
          { id: 3, type: "block-driver", name: "copy" },
        ],
        edges: [
          { parent: 1, child: 2, name: "source" },
          { parent: 1, child: 3, name: "target" },
        ],
      }),
      "query-named-block-nodes": () => [
        { "node-name": "disk", drv: "raw", file: "/a", image: { "virtual-size": 7, filename: "/a" } },
        { "node-name": "copy", drv: "qcow2", file: "/b" },
      ],
    });
    expect(source.list()[0]?.source).toEqual({ name: "disk", driver: "raw", size: 7, filename: "/a" });
    expect(source.list()[0]?.target).toMatchObject({ name: "copy", driver: "qcow2", filename: "/b" });
  });

  it("counts paused time and errors by watching", async () => {
    const { peer, source, tick } = await rig([blockJob({ status: "paused", paused: true })]);
    peer.emit("BLOCK_JOB_ERROR", { device: "j", operation: "write", action: "stop" });
    await tick();
    await tick();
    expect(source.list()[0]).toMatchObject({ errorCount: 1, userPaused: true });
    expect(source.list()[0]?.pausedMs).toBeGreaterThanOrEqual(1000);
  });
});

describe("the end of a job", () => {
  it.each([
    ["completed", "BLOCK_JOB_COMPLETED", {}, { cancelled: false }],
    ["failed", "BLOCK_JOB_COMPLETED", { error: "No space left" }, { error: { message: "No space left" } }],
    ["was cancelled", "BLOCK_JOB_CANCELLED", {}, { cancelled: true }],
  ])("that %s stays on the screen after the peer has forgotten the job", async (_, event, extra, shown) => {
    const { peer, source, tick } = await rig([blockJob()]);
    peer.emit(event, { device: "j", type: "mirror", len: 100, offset: 90, speed: 0, ...extra });
    peer.answer("query-block-jobs", () => []);
    await tick();
    expect(source.list()).toMatchObject([{ id: "j", status: "concluded", offset: 90, ...shown }]);
    expect(source.can("j", "pause").allowed).toBe(false);
    await source.dismiss("j");
    expect(source.list()).toEqual([]);
    expect(peer.told).toEqual([]);
  });

  it("of a job that the peer keeps until it is dismissed goes with it", async () => {
    const { peer, source, tick } = await rig([blockJob({ "auto-dismiss": false })]);
    peer.emit("BLOCK_JOB_COMPLETED", { device: "j", type: "mirror", len: 100, offset: 100, speed: 0 });
    peer.answer("query-block-jobs", () => [blockJob({ "auto-dismiss": false, status: "concluded" })]);
    await tick();
    await source.dismiss("j");
    expect(peer.told).toEqual([["job-dismiss", { id: "j" }]]);
    peer.answer("query-block-jobs", () => []);
    await tick();
    expect(source.list()).toEqual([]);
  });

  it.each([
    ["BLOCK_JOB_CANCELLED", {}, { cancelled: true }],
    ["BLOCK_JOB_COMPLETED", { error: "broken" }, { error: { message: "broken" } }],
    ["BLOCK_JOB_COMPLETED", {}, { cancelled: false }],
  ])("by %s %o is known also when the peer ends with the job", async (event, extra, shown) => {
    const { peer, source, tick } = await rig([blockJob()]);
    peer.emit(event, { device: "j", type: "mirror", len: 100, offset: 40, speed: 0, ...extra });
    // Until it has concluded, being cancelled is no error of it.
    if (event === "BLOCK_JOB_CANCELLED") expect(source.list()[0]).not.toHaveProperty("error");
    peer.emit("JOB_STATUS_CHANGE", { id: "j", status: "concluded" });
    peer.state = "dead";
    await tick();
    expect(source.list()).toMatchObject([{ id: "j", status: "concluded", offset: 40, ...shown }]);
  });

  it("gives way to a new job of the same name", async () => {
    const { peer, source, tick } = await rig([blockJob()]);
    peer.emit("BLOCK_JOB_COMPLETED", { device: "j", type: "mirror", len: 100, offset: 100, speed: 0 });
    peer.answer("query-block-jobs", () => []);
    await tick();
    peer.answer("query-block-jobs", () => [blockJob({ offset: 1 })]);
    await tick();
    expect(source.list()).toMatchObject([{ id: "j", status: "running", offset: 1 }]);
  });

  it("that nobody told of takes the job away", async () => {
    const { peer, source, tick } = await rig([blockJob()]);
    peer.answer("query-block-jobs", () => []);
    await tick();
    expect(source.list()).toEqual([]);
  });
});

describe("verbs", () => {
  it("go to the commands for them", async () => {
    const { peer, source } = await rig([blockJob({ status: "ready", ready: true })]);
    await source.pause("j");
    await source.setSpeed("j", 5);
    await source.complete("j");
    await source.cancel("j", { force: false });
    await source.cancel("j", { force: true });
    expect(peer.told).toEqual([
      ["job-pause", { id: "j" }],
      ["block-job-set-speed", { device: "j", speed: 5 }],
      ["job-complete", { id: "j" }],
      ["block-job-cancel", { device: "j", force: false }],
      ["block-job-cancel", { device: "j", force: true }],
    ]);
  });

  it("use the older names on a peer that has only those", async () => {
    const older = {
      "block-job-pause": () => ({}),
      "block-job-cancel": () => ({}),
      "block-job-dismiss": () => ({}),
    };
    const { peer, source } = await rig([blockJob(), blockJob({ device: "k", status: "concluded" })], older);
    await source.pause("j");
    await source.dismiss("k");
    expect(peer.told).toEqual([
      ["block-job-pause", { device: "j" }],
      ["block-job-dismiss", { id: "k" }],
    ]);
    expect(source.can("j", "set-speed")).toEqual({
      allowed: false,
      reason: "this peer has no block-job-set-speed",
    });
  });

  it("are refused with the reason while the peer is away", async () => {
    const { peer, source } = await rig([blockJob()]);
    peer.state = "dead";
    expect(source.can("j", "pause")).toEqual({ allowed: false, reason: "the peer is not connected" });
    expect(source.endpoint.state).toBe("dead");
    await expect(source.pause("j")).rejects.toThrow("not connected");
  });

  it("a peer refuses are told in its words", async () => {
    const { source } = await rig([blockJob()], {
      ...JOB_COMMANDS,
      "job-pause": () => {
        throw new Error("Job is already paused");
      },
    });
    await expect(source.pause("j")).rejects.toThrow("Job is already paused");
  });
});

it("a job that was seen to ignore errors of a side has that policy there, whatever it has for the other", async () => {
  const { peer, source } = await rig([blockJob()]);
  peer.emit("BLOCK_JOB_ERROR", { device: "j", operation: "write", action: "ignore" });
  expect(source.list()).toMatchObject([{ errorCount: 1, onTargetError: "ignore" }]);
  expect(source.list()[0]?.onSourceError).toBeUndefined();
  peer.emit("BLOCK_JOB_ERROR", { device: "j", operation: "read", action: "stop" });
  expect(source.list()[0]?.onSourceError).toBeUndefined();
});

it("a job that waits to be finalized is not paused, though QEMU says so", async () => {
  const { peer, source, tick } = await rig([blockJob({ status: "paused", paused: true })]);
  await tick();
  peer.answer("query-block-jobs", () => [blockJob({ status: "pending", paused: true, offset: 100 })]);
  await tick();
  await tick();
  await tick();
  expect(source.list()).toMatchObject([{ status: "pending", paused: false, pausedMs: 2000 }]);
});

describe("a peer that goes", () => {
  const ending = { type: "mirror", device: "j", len: 100, offset: 40, speed: 0 };

  it("with its job, as one does that ran for it alone, has ended, and what it left can be dismissed", async () => {
    const { peer, source } = await rig([blockJob()], JOB_COMMANDS, true);
    peer.emit("BLOCK_JOB_CANCELLED", ending);
    peer.state = "connecting";
    peer.state = "dead";
    expect(source.endpoint).toEqual({ name: "vm", kind: "qmp", state: "ended" });
    expect(source.list()).toMatchObject([{ id: "j", status: "concluded", cancelled: true }]);
    expect(source.can("j", "dismiss")).toEqual({ allowed: true });
    await source.dismiss("j");
    expect(source.list()).toEqual([]);
    // It does not rise from the dead by that, nor by another attempt to reach it.
    peer.state = "connecting";
    peer.state = "dead";
    expect(source.endpoint.state).toBe("ended");
  });

  it("is dead where its job has not ended, and where it was there for more than its jobs", async () => {
    const early = await rig([blockJob()], JOB_COMMANDS, true);
    early.peer.state = "dead";
    expect(early.source.endpoint.state).toBe("dead");
    const lasting = await rig([blockJob()], JOB_COMMANDS);
    lasting.peer.emit("BLOCK_JOB_CANCELLED", ending);
    lasting.peer.state = "dead";
    expect(lasting.source.endpoint.state).toBe("dead");
  });

  it("after a word of goodbye has ended, until somebody answers there again", async () => {
    const { peer, source } = await rig([]);
    peer.emit("SHUTDOWN", { guest: false, reason: "host-qmp-quit" });
    expect(source.endpoint.state).toBe("connected");
    peer.state = "dead";
    expect(source.endpoint.state).toBe("ended");
    peer.state = "connected";
    peer.state = "dead";
    expect(source.endpoint.state).toBe("dead");
  });
});

describe("the map of a job's disk", () => {
  const MAP = "x-blockmirror-query-dirty-map";

  it("is there one look after it was asked for, and is asked for again when it has grown old", async () => {
    let copied = 0.25;
    const { peer, source, tick } = await rig([blockJob()], {
      ...JOB_COMMANDS,
      [MAP]: ({ cells }) => mapOf(Number(cells), copied),
    });
    expect(source.map("j", 4)).toBeUndefined();
    await settle();
    copied = 0.5;
    expect(source.map("j", 4)).toMatchObject({ cellCount: 4, copied: new Float32Array(4).fill(0.25) });
    expect(peer.told).toEqual([[MAP, { id: "j", cells: 4 }]]);
    await tick();
    source.map("j", 4);
    await settle();
    expect(source.map("j", 4)).toMatchObject({ copied: new Float32Array(4).fill(0.5) });
  });

  it.each([
    ["has none for this job", () => Promise.reject(new Error("Job 'j' has no dirty map")), "no dirty map"],
    ["answers something else", () => ({ copied: [1], dirty: ["x"] }), "cannot be read"],
    ["has too few cells", () => mapOf(3, 1), "cannot be read"],
  ])("says why there is none when the peer %s", async (_case, answer, reason) => {
    const { source } = await rig([blockJob()], { ...JOB_COMMANDS, [MAP]: answer });
    source.map("j", 4);
    await settle();
    expect(source.map("j", 4)).toEqual({ reason: expect.stringContaining(reason) });
  });

  it("is refused in a word where the peer has no command for it", async () => {
    const { source } = await rig([blockJob()]);
    expect(source.map("j", 4)).toEqual({ reason: expect.stringContaining("this peer has no map") });
  });
});

describe("events", () => {
  it("are passed on, and those about other things are not", async () => {
    const { peer, events } = await rig([blockJob()]);
    peer.emit("JOB_STATUS_CHANGE", { id: "j", status: "ready" });
    peer.emit("BLOCK_JOB_READY", { device: "j", type: "mirror", len: 1, offset: 1, speed: 0 });
    peer.emit("BLOCK_IO_ERROR", { device: "d" });
    peer.emit("JOB_STATUS_CHANGE", { id: "j", status: "dreaming" });
    expect(events.map(({ event }) => event)).toEqual(["JOB_STATUS_CHANGE", "BLOCK_JOB_READY"]);
  });

  it("make the source look again at once", async () => {
    const { peer, clock, source } = await rig([blockJob()]);
    peer.answer("query-block-jobs", () => [blockJob({ status: "ready", ready: true })]);
    peer.emit("JOB_STATUS_CHANGE", { id: "j", status: "ready" });
    clock.advance(50);
    await settle();
    expect(source.list()[0]?.status).toBe("ready");
  });

  it("of a second process after a reconnect are understood by its own commands", async () => {
    const { peer, source, tick } = await rig([blockJob()], { "block-job-pause": () => ({}) });
    peer.state = "connecting";
    peer.answer("job-pause", () => ({}));
    peer.state = "connected";
    await tick();
    await source.pause("j");
    expect(peer.told).toEqual([["job-pause", { id: "j" }]]);
  });
});

describe("what is proposed while a job is described", () => {
  const nodes = ["disk", "disk-old", "esc\u001b", "#block1"].map((name) => ({
    "node-name": name,
    drv: "raw",
  }));

  it("is the name of a node, or what a machine's device uses", async () => {
    const { source } = await rig([], {
      "query-named-block-nodes": () => nodes,
      "query-block": () => [{ device: "drive0", inserted: { "node-name": "#block1" } }],
    });
    expect(await source.suggest("", "source")).toBe("drive0");
    expect(await source.suggest("disk", "source")).toBe("-old");
    expect(await source.suggest("e", "source")).toBeUndefined();
    expect(await source.suggest("drive0", "source")).toBeUndefined();
  });

  it("is nothing where the peer does not answer, and no path that means nothing to it", async () => {
    const { source, peer } = await rig([]);
    peer.state = "dead";
    expect(await source.suggest("d", "source")).toBeUndefined();
    expect(await source.suggest("packag", "image")).toBeUndefined();
    expect(await source.suggest("/de", "place")).toBe("v/");
  });
});

it("closing ends the connection and the questions", async () => {
  const { peer, clock, source } = await rig([blockJob()]);
  await source.close();
  expect(peer.closed).toBe(true);
  expect(clock.pendingTimers).toBe(0);
});

function mapOf(cells: number, copied: number): unknown {
  const all = (value: number): readonly number[] => Array.from({ length: cells }, () => value);
  return { copied: all(copied), dirty: all(1 - copied), "in-flight": all(0), failed: all(0) };
}
