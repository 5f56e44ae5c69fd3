import { describe, expect, test } from "vitest";

import { run } from "../src/index.ts";

const node = process.execPath;

describe("run", () => {
  test("gives what the program printed, to either stream, from the input it was given", async () => {
    const script =
      "process.stdin.on('data', (d) => process.stdout.write(d)); console.error(process.env.GREETING)";
    const result = await run(node, ["-e", script], { input: "from stdin", env: { GREETING: "hello" } });
    expect(result).toEqual({ exitCode: 0, stdout: "from stdin", stderr: "hello\n" });
  });

  test("runs in the directory asked for, with an empty standard input", async () => {
    const script = "process.stdin.resume().on('end', () => console.log(process.cwd()))";
    await expect(run(node, ["-e", script], { cwd: "/" })).resolves.toMatchObject({ stdout: "/\n" });
  });

  test("an exit status that is not allowed fails with the command line and its stderr", async () => {
    await expect(run(node, ["-e", "console.error('no such disk'); process.exit(3)"])).rejects.toMatchObject({
      code: "PEER_FAILED",
      exitCode: 3,
      stderr: "no such disk\n",
      message: expect.stringMatching(/-e .*exit status 3\nno such disk/u),
    });
  });

  test("an exit status that is an answer is given back", async () => {
    const result = await run(node, ["-e", "process.exit(1)"], { allowedExitCodes: [0, 1] });
    expect(result.exitCode).toBe(1);
  });

  test("an allowed list without 0 makes success a failure", async () => {
    await expect(run(node, ["-e", ""], { allowedExitCodes: [1] })).rejects.toMatchObject({ exitCode: 0 });
  });

  test("a signal fails and is named", async () => {
    await expect(run(node, ["-e", "process.kill(process.pid, 'SIGTERM')"])).rejects.toMatchObject({
      code: "PEER_FAILED",
      message: expect.stringContaining("SIGTERM"),
    });
  });

  test("a program that does not exist is missing", async () => {
    await expect(run("/nonexistent/program", [])).rejects.toMatchObject({ code: "PEER_MISSING" });
  });

  test("a program that does not end is killed and reported with what it said", async () => {
    const script = "console.error('stuck'); setInterval(() => {}, 1000)";
    await expect(run(node, ["-e", script], { timeoutMs: 1000 })).rejects.toMatchObject({
      code: "PEER_TIMEOUT",
      stderr: "stuck\n",
    });
  });

  test("a program that ignores a large input is judged by its exit status", async () => {
    const input = new Uint8Array(4 << 20);
    await expect(run(node, ["-e", "process.exit(0)"], { input })).resolves.toMatchObject({ exitCode: 0 });
  });
});
