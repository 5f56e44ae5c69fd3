// Runs the daemon as the command does, for tests that need a process of its own.
import { runStorageDaemon } from "../../dist/index.js";

process.exitCode = await runStorageDaemon(process.argv.slice(2), { packageVersion: "test" });
