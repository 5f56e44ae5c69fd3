// A program with the UI on scripted jobs and the real clock, for tests in a pseudo-terminal and for looking at.
// Usage: node ui-program.ts [--ascii] [--mono] [--colorblind] [--read-only] [--idle]
// SIGUSR2 makes it crash.
import { systemClock } from "../../src/job-source/clock.ts";
import { FakeJobSource } from "../../src/job-source/fake-job-source.ts";
import { wantsColor } from "../../src/terminal/color-policy.ts";
import { addSampleJobs } from "./sample-jobs.ts";

const flags = new Set(process.argv.slice(2));
const { startUi } = await import("#ui");

const files = new Map([
  ["/images/new.raw", 4 * 2 ** 30],
  ["/images/old.raw", 4 * 2 ** 30],
]);
const source = new FakeJobSource({ clock: systemClock, files });
if (!flags.has("--idle")) addSampleJobs(source);
const keepRunning = setInterval(() => {}, 1000);
process.on("SIGUSR2", () => {
  throw new Error("deliberate crash");
});
const result = await startUi(source, {
  ascii: flags.has("--ascii"),
  theme: flags.has("--mono") ? "mono" : flags.has("--colorblind") ? "colorblind" : "default",
  readOnly: flags.has("--read-only"),
  color: wantsColor("auto", { env: process.env, isTTY: process.stdout.isTTY }),
  tickMs: 500,
});
clearInterval(keepRunning);
source.close();
process.stdout.write(`ended: ${JSON.stringify(result)}\n`);
