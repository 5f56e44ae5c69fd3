import { describe, expect, it } from "vitest";
import { endpointNames } from "../../src/attach/endpoint-names.ts";
import { MergedJobSource } from "../../src/attach/merged-job-source.ts";
import { FakeClock } from "../../src/job-source/clock.ts";
import { FakeJobSource } from "../../src/job-source/fake-job-source.ts";
import type { JobSourceEvent } from "../../src/job-source/job-source.ts";

function endpoint(name: string, clock: FakeClock): FakeJobSource {
  return new FakeJobSource({ clock, endpoint: { name, kind: "qmp", state: "connected" } });
}

function rig() {
  const clock = new FakeClock();
  const one = endpoint("vm1", clock);
  const two = endpoint("vm2", clock);
  one.add({ id: "j", size: 2 ** 30, copyRateBytesPerSec: 2 ** 20 });
  clock.advance(10);
  two.add({ id: "j", size: 2 ** 30, copyRateBytesPerSec: 2 ** 20 });
  return { clock, one, two, merged: new MergedJobSource([one, two]) };
}

describe("several endpoints in one table", () => {
  it("keep jobs of the same name apart", () => {
    const { merged } = rig();
    expect(merged.list().map(({ id, endpoint }) => [id, endpoint])).toEqual([
      ["vm1/j", "vm1"],
      ["vm2/j", "vm2"],
    ]);
  });

  it("get the verbs for their own jobs", async () => {
    const { merged, one, two } = rig();
    await merged.pause("vm2/j");
    await merged.setSpeed("vm1/j", 5);
    expect(one.accepted).toEqual([["set-speed", "j", 5]]);
    expect(two.accepted).toEqual([["pause", "j"]]);
    expect(merged.can("vm3/j", "pause")).toEqual({ allowed: false, reason: "no such job" });
    expect(merged.can("j", "pause").allowed).toBe(false);
  });

  it("are proposed by their names, and then what they have", async () => {
    const clock = new FakeClock();
    const file = { clock, files: new Map([["disk.raw", 1]]) };
    const sources = ["vm1", "vm2"].map(
      (name) => new FakeJobSource({ ...file, endpoint: { name, kind: "qmp", state: "connected" } }),
    );
    const merged = new MergedJobSource(sources);
    expect(await merged.suggest("v", "source")).toBe("m1/");
    expect(await merged.suggest("vm2/di", "source")).toBe("sk.raw");
    expect(await merged.suggest("vm3/di", "source")).toBeUndefined();
    expect(await merged.suggest("di", "image")).toBe("sk.raw");
  });

  it("pass their events on under the full name", async () => {
    const { clock, merged } = rig();
    const events: JobSourceEvent[] = [];
    const end = merged.subscribe((event) => events.push(event));
    await merged.cancel("vm2/j", { force: true });
    clock.advance(1000);
    end();
    const named = events.filter((event) => event.event === "BLOCK_JOB_CANCELLED");
    expect(named).toMatchObject([{ data: { device: "vm2/j" } }]);
  });

  it("are told apart when one is lost, and the rest stay usable", () => {
    const { merged, two } = rig();
    expect(merged.endpoint).toMatchObject({ name: "2 endpoints", state: "connected" });
    two.endpoint = { name: "vm2", kind: "qmp", state: "busy" };
    expect(merged.endpoint).toMatchObject({ name: "2 endpoints (vm2 BUSY)", state: "connected" });
  });

  it("are told as gone in order only when all are", () => {
    const { merged, one, two } = rig();
    one.endpoint = { name: "vm1", kind: "qmp", state: "ended" };
    expect(merged.endpoint).toMatchObject({ name: "2 endpoints (vm1 ENDED)", state: "connected" });
    two.endpoint = { name: "vm2", kind: "qmp", state: "dead", problem: "vm2: nobody listens" };
    expect(merged.endpoint).toMatchObject({ state: "dead", problem: "vm2: nobody listens" });
    two.endpoint = { name: "vm2", kind: "qmp", state: "ended" };
    expect(merged.endpoint).toMatchObject({ name: "2 endpoints", state: "ended" });
  });

  it("start jobs where the source's name says", async () => {
    const { merged, one, two } = rig();
    const request = { id: "n", targetPath: "/t", sync: "full", existing: true, speed: 0 } as const;
    expect((await merged.validate({ ...request, sourcePath: "disk" })).problems).toMatchObject([
      { field: "sourcePath", message: "write ENDPOINT/NODE; the endpoints are vm1, vm2" },
    ]);
    expect(await merged.start({ ...request, sourcePath: "vm2/disk" })).toBe("vm2/n");
    expect(one.accepted).toEqual([]);
    expect(two.accepted).toMatchObject([["start", "n", { sourcePath: "disk" }]]);
  });

  it("take a second node by its name there, with or without the endpoint in front", async () => {
    const { merged, two } = rig();
    const request = {
      targetPath: "/t",
      sync: "full",
      existing: true,
      speed: 0,
      sourcePath: "vm2/disk",
    } as const;
    await merged.start({ ...request, id: "n", replaces: "vm2/top" });
    await merged.start({ ...request, id: "o", replaces: "top" });
    expect(two.accepted).toMatchObject([
      ["start", "n", { replaces: "top" }],
      ["start", "o", { replaces: "top" }],
    ]);
  });

  it("may not share a name", () => {
    const clock = new FakeClock();
    expect(() => new MergedJobSource([endpoint("a", clock), endpoint("a", clock)])).toThrow(RangeError);
  });
});

describe("names of endpoints", () => {
  it.each([
    [["/run/qemu-server/100.qmp"], ["100"]],
    [["/var/lib/libvirt/qemu/domain-1-web/monitor.sock"], ["domain-1-web"]],
    [
      ["/run/a/vm.sock", "/run/b/vm.sock"],
      ["run_a_vm.sock", "run_b_vm.sock"],
    ],
    [["host:4444"], ["host:4444"]],
  ])("of %j are %j", (addresses, names) => {
    expect(endpointNames(addresses)).toEqual(names);
  });
});
