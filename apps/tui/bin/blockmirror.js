#!/usr/bin/env node
// Plain syntax on purpose: this file has to run on any Node, to say which one is needed.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 22 || (major === 22 && minor < 12)) {
  process.stderr.write(
    `blockmirror: needs Node.js 22.12 or newer, this is ${process.versions.node}; install a newer one (https://nodejs.org)\n`,
  );
  process.exitCode = 1;
} else {
  // Requests of guests must not wait behind the copying: more of them are on their way at a time than Node's four threads
  // would let through. Only the first use of a thread looks at this.
  process.env.UV_THREADPOOL_SIZE ??= "8";
  import("#main")
    .then(({ main }) => main(process.argv.slice(2)))
    .then(
      (code) => {
        process.exitCode = code;
      },
      (error) => {
        process.stderr.write(
          `blockmirror: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
        );
        process.exitCode = 1;
      },
    );
}
