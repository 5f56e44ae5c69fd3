import { QmpClient } from "@blockmirror/qmp";
import { expect, it } from "vitest";

import { RawMonitor } from "./support/raw-monitor.ts";
import { Side } from "./support/sides.ts";

const JOBS = 200;
const CLIENTS = 4;
/** Often enough for each job to be seen several times. */
const EVENTS_PER_LOOK = 40;
const MIB = 1024 * 1024;
const ids = Array.from({ length: JOBS }, (_, index) => `j${index}`);

/** One more client that looks at the jobs; no job may go back, and no answer may lack anything. */
class Onlooker {
  readonly #client: QmpClient;
  readonly #offsets: Map<string, number> = new Map();
  /** What was wrong. */
  readonly complaints: unknown[] = [];

  private constructor(client: QmpClient) {
    this.#client = client;
  }

  static async at(path: string): Promise<Onlooker> {
    return new Onlooker(await QmpClient.connect(path));
  }

  async look(): Promise<void> {
    const all = await this.#client.execute("query-block-jobs");
    const brief = await this.#client.execute("query-jobs");
    if (brief.length > JOBS) this.complaints.push(brief.length);
    for (const job of all) {
      const [offset, len] = [Number(job.offset), Number(job.len)];
      const isWhole = STATUSES.has(job.status) && typeof job.ready === "boolean";
      const goesOn = offset >= (this.#offsets.get(job.device) ?? 0) && offset <= len;
      if (!isWhole || !goesOn) this.complaints.push(job);
      this.#offsets.set(job.device, offset);
    }
  }

  get seen(): number {
    return this.#offsets.size;
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}

const STATUSES: ReadonlySet<string> = new Set([
  "created",
  "running",
  "ready",
  "waiting",
  "pending",
  "concluded",
]);

it("200 jobs that several clients look at all the while go forward and end", async () => {
  await using side = await Side.ours();
  const onlookers = await Promise.all(Array.from({ length: CLIENTS }, () => Onlooker.at(side.socketPath)));
  const look = (): Promise<unknown> => Promise.all(onlookers.map((each) => each.look()));
  for (const id of ids) {
    for (const end of ["s", "t"]) {
      await side.run("blockdev-add", { driver: "null-co", "node-name": `${id}${end}`, size: MIB });
    }
    const ends = { device: `${id}s`, target: `${id}t` };
    // Slow enough to be looked at on the way.
    const slow = { "buf-size": 65_536, speed: 8 * MIB };
    await side.run("blockdev-mirror", { "job-id": id, ...ends, sync: "full", ...slow });
  }
  await look();
  const left = new Set(ids);
  const completed = new Set<string>();
  for (let events = 1; left.size > 0; events += 1) {
    const { event, data } = await side.nextEvent();
    const named = data["device"] ?? data["id"];
    const id = typeof named === "string" ? named : "";
    if (event === "BLOCK_JOB_READY") await side.run("job-complete", { id });
    if (event === "BLOCK_JOB_COMPLETED" && data["error"] === undefined) completed.add(id);
    if (event === "JOB_STATUS_CHANGE" && data["status"] === "null") left.delete(id);
    if (events % EVENTS_PER_LOOK === 0) await look();
  }
  expect(completed.size).toBe(JOBS);
  for (const each of onlookers) {
    expect(each.complaints).toEqual([]);
    expect(each.seen).toBe(JOBS);
    await each.close();
  }
}, 120_000);

it("what a client has begun goes on when it vanishes, for the others to end", async () => {
  await using side = await Side.ours();
  await side.run("blockdev-add", { driver: "null-co", "node-name": "s", size: 64 * MIB });
  await side.run("blockdev-add", { driver: "null-co", "node-name": "t", size: 64 * MIB });
  const monitor = new RawMonitor(side.socketPath);
  const start = { "job-id": "j", device: "s", target: "t", sync: "full", speed: 1 };
  await monitor.send(
    Buffer.from(
      `{"execute": "qmp_capabilities"}${JSON.stringify({ execute: "blockdev-mirror", arguments: start })}{"exec`,
    ),
  );
  await side.eventsUntil((word) => word === "running");
  monitor.socket.destroy();
  await monitor.ended;
  expect(await side.client.execute("query-jobs")).toMatchObject([{ id: "j", status: "running" }]);
  await side.run("job-cancel", { id: "j" });
  expect(await side.eventsUntil((word) => word === "null")).toContain("BLOCK_JOB_CANCELLED");
});
