import { once } from "node:events";
import { existsSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { listenForMonitors } from "../src/index.ts";
import { afterTest, scratch } from "./support/daemon-process.ts";

/** Listens, and tells its name to whoever connects. */
async function listenAs(name: string, path: string): Promise<Server> {
  const server = await listenForMonitors({ path }, (socket) => {
    // Who only looks whether somebody is there does not wait for the name.
    socket.on("error", () => undefined).end(name);
  });
  afterTest(() => server.close());
  return server;
}

/** Who answers at a path. */
async function nameAt(path: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of connect(path)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** What a killed daemon leaves behind: a socket that nobody listens on. */
async function leaveStale(path: string): Promise<void> {
  const server = createServer().listen(path);
  await once(server, "listening");
  linkSync(path, `${path}.kept`);
  server.close();
  await once(server, "close");
  renameSync(`${path}.kept`, path);
}

describe("the socket of a monitor", () => {
  it("is removed by its own server, and by no other", async () => {
    const path = join(await scratch(), "qmp.sock");
    const first = await listenAs("first", path);
    rmSync(path);
    const second = await listenAs("second", path);
    first.close();
    expect(await nameAt(path)).toBe("second");
    second.close();
    expect(existsSync(path)).toBe(false);
  });

  it("is not missed by its server when it is gone, and what took its place stays", async () => {
    const path = join(await scratch(), "qmp.sock");
    const first = await listenAs("first", path);
    rmSync(path);
    first.close();
    const second = await listenAs("second", path);
    rmSync(path);
    writeFileSync(path, "precious");
    second.close();
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  it("is one server's, when several find a dead one at once", async () => {
    const path = join(await scratch(), "qmp.sock");
    for (let round = 0; round < 10; round += 1) {
      await leaveStale(path);
      const names = ["a", "b", "c"];
      const attempts = await Promise.allSettled(names.map((name) => listenAs(name, path)));
      const winners = names.filter((_name, index) => attempts[index]?.status === "fulfilled");
      expect(winners).toEqual([await nameAt(path)]);
      for (const attempt of attempts) if (attempt.status === "fulfilled") attempt.value.close();
    }
  });
});
