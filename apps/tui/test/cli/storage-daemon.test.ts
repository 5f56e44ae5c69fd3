import { join } from "node:path";
import { QmpClient } from "@blockmirror/qmp";
import { afterEach, expect, test } from "vitest";
import { runCli, scratchDirectory, startCli } from "./support/run-cli.ts";

const LOG_MODULES = new URL("./support/log-modules.js", import.meta.url).href;

let scratch: ReturnType<typeof scratchDirectory> | undefined;

afterEach(() => {
  scratch?.remove();
  scratch = undefined;
});

/** Connects as soon as somebody listens there. */
async function connect(path: string, ended: Promise<{ readonly stderr: string }>): Promise<QmpClient> {
  let end: string | undefined;
  void ended.then(({ stderr }) => (end = stderr));
  for (;;) {
    try {
      return await QmpClient.connect(path);
    } catch (error) {
      if (end !== undefined) throw new Error(`the daemon ended: ${end}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

test("a daemon is driven by QMP from its start to its quit", async () => {
  scratch = scratchDirectory();
  const socket = join(scratch.path, "qmp.sock");
  const { ended } = startCli([
    "storage-daemon",
    "--blockdev",
    "null-co,node-name=n,size=1048576",
    "--chardev",
    `socket,id=c,path=${socket},server=on,wait=off`,
    "--monitor",
    "c",
  ]);
  const client = await connect(socket, ended);
  expect(client.greeting.version.package).toMatch(/^Blockmirror \d/u);
  expect(await client.execute("query-named-block-nodes")).toMatchObject([
    { "node-name": "n", drv: "null-co" },
  ]);
  await client.execute("quit");
  expect(await ended).toMatchObject({ status: 0, stdout: "", stderr: "" });
});

test("the daemon loads nothing of the terminal, so that it answers soon", async () => {
  const { status, stdout, stderr } = await runCli(["storage-daemon", "--version"], {
    nodeArguments: ["--import", LOG_MODULES],
  });
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^blockmirror storage-daemon /u),
  });
  const modules = stderr.split("\n").filter((line) => line.startsWith("loads "));
  expect(modules.some((line) => line.includes("storage-daemon"))).toBe(true);
  expect(modules.filter((line) => /node_modules\/(?:ink|react|commander)\//u.test(line))).toEqual([]);
});

test("wrong usage is told in one line with status 2, and help shows the command", async () => {
  const wrong = await runCli(["storage-daemon", "--nonsense"]);
  expect(wrong).toMatchObject({ status: 2, stdout: "" });
  expect(wrong.stderr).toMatch(/^blockmirror storage-daemon: [^\n]*--nonsense[^\n]*\n$/u);
  expect((await runCli(["--help"])).stdout).toContain("storage-daemon");
});
