import { connect } from "node:net";
import { describe, expect, it } from "vitest";

import { Daemon } from "../src/index.ts";
import { COMMANDS } from "./support/command-rows.ts";
import {
  concluded,
  MIRROR,
  mirror,
  pair,
  paused,
  pending,
  running,
  server,
} from "./support/command-setups.ts";
import { Side } from "./support/sides.ts";

/** Accepted by every connection already. */
const ACCEPTED_ELSEWHERE: ReadonlySet<string> = new Set(["qmp_capabilities"]);

describe("every command, through a socket", () => {
  it("has a row here", () => {
    expect(new Daemon().commands.names.toSorted()).toEqual(Object.keys(COMMANDS).toSorted());
  });

  it.each(Object.entries(COMMANDS))("%s refuses what it has to, and works", async (command, row) => {
    await using side = await Side.ours();
    await row.given?.(side);
    const state = async (): Promise<unknown> => [
      side.daemon.graph.nodes().map(({ name }) => name),
      await side.ask("query-jobs"),
      await side.ask("query-block-exports"),
    ];
    const before = await state();
    expect(row.refused.length).toBeGreaterThan(0);
    for (const [why, args, errorClass = "GenericError"] of row.refused) {
      expect([why, await side.ask(command, args)]).toEqual([why, { error: errorClass }]);
    }
    expect(await state()).toEqual(before);
    if (ACCEPTED_ELSEWHERE.has(command)) return;
    expect(await side.ask(command, row.accepted(side))).toHaveProperty("return");
  });

  const SPEED = { device: "j", speed: 1 };
  it.each([
    { what: "a running job", given: running, command: "job-complete", args: { id: "j" } },
    { what: "a running job", given: running, command: "block-job-complete", args: { device: "j" } },
    { what: "a READY job", given: mirror(), command: "job-finalize", args: { id: "j" } },
    { what: "a READY job", given: mirror(), command: "job-dismiss", args: { id: "j" } },
    { what: "a READY job", given: mirror(), command: "job-resume", args: { id: "j" } },
    { what: "a paused job", given: paused, command: "job-pause", args: { id: "j" } },
    { what: "a pending job", given: pending, command: "job-pause", args: { id: "j" } },
    { what: "a pending job", given: pending, command: "block-job-set-speed", args: SPEED },
    { what: "a pending job", given: pending, command: "job-complete", args: { id: "j" } },
    { what: "a finished job", given: concluded, command: "job-pause", args: { id: "j" } },
    { what: "a finished job", given: concluded, command: "job-cancel", args: { id: "j" } },
    { what: "a finished job", given: concluded, command: "block-job-set-speed", args: SPEED },
    {
      what: "a source with a job",
      given: mirror(),
      command: "blockdev-mirror",
      args: { ...MIRROR, "job-id": "k" },
    },
    { what: "a job's id", given: mirror(), command: "blockdev-mirror", args: MIRROR },
    {
      what: "a running server",
      given: server,
      command: "nbd-server-start",
      args: { addr: { type: "unix", data: { path: "/nonexistent/x" } } },
    },
  ])("$what: $command is refused", async ({ given, command, args }) => {
    await using side = await Side.ours();
    await given(side);
    expect(await side.ask(command, args)).toEqual({ error: "GenericError" });
  });

  it("no server, no stop and no export", async () => {
    await using side = await Side.ours();
    await pair(side);
    for (const [command, args] of [
      ["nbd-server-stop", {}],
      ["nbd-server-add", { device: "src" }],
      ["block-export-add", { type: "nbd", id: "e", "node-name": "src" }],
    ] as const) {
      expect([command, await side.ask(command, args)]).toEqual([command, { error: "GenericError" }]);
    }
  });
});

describe("what is no command", () => {
  it.each([
    ["[1]", "GenericError"],
    ['{"arguments": {}}', "GenericError"],
    ['{"execute": "query-jobs", "zzz": 1}', "GenericError"],
    ['{"execute": 1}', "GenericError"],
    ['{"execute": "query-jobs", "arguments": []}', "GenericError"],
    ['{"execute": "zzz"}', "CommandNotFound"],
    ['{"execute": "query-jobs", "arguments": {"a": 1}}', "GenericError"],
    ['{"exec-oob": "query-jobs"}', "GenericError"],
    ['{"execute": }', "GenericError"],
    ['{"execute": "qmp_capabilities"}', "CommandNotFound"],
  ])("%s is answered with %s", async (text, errorClass) => {
    await using side = await Side.ours();
    const socket = connect(side.socketPath);
    let received = "";
    socket.setEncoding("utf8").on("data", (chunk: string) => (received += chunk));
    socket.end(`{"execute": "qmp_capabilities"}${text}`);
    await new Promise((resolve) => socket.once("close", resolve));
    const lines = received.split("\r\n").filter((line) => line !== "");
    expect(lines.slice(1).map((line) => JSON.parse(line).error?.class)).toEqual([undefined, errorClass]);
  });
});
