import { readFile, writeFile } from "node:fs/promises";
import { lacksPeers } from "@blockmirror/peers";
import type { JsonObject, JsonValue } from "@blockmirror/qmp";
import { describe, it } from "vitest";

import { compare } from "./support/compare.ts";
import { makeImage, MIB } from "./support/images.ts";
import { exportOverNbd, tryGuest } from "./support/qemu.ts";
import type { Answer, Side } from "./support/sides.ts";

function blkdebug(side: Side, more: JsonObject): JsonObject {
  return { driver: "blkdebug", image: { driver: "file", filename: side.path("a.raw") }, ...more };
}

/** Whether each of these can be added. */
async function tryAdd(side: Side, all: readonly JsonObject[]): Promise<Answer[]> {
  await makeImage(side, "a.raw", MIB, 0);
  const answers: Answer[] = [];
  for (const more of all) {
    const answer = await side.ask("blockdev-add", { ...blkdebug(side, more), "node-name": "d" });
    answers.push(answer);
    if ("return" in answer) await side.run("blockdev-del", { "node-name": "d" });
  }
  return answers;
}

/**
 * What becomes of requests, and what is in the image then. QEMU's driver is asked by `qemu-io` without a server between:
 * its NBD server does not read zeroes, and ends a connection at a failed read.
 */
async function disturbed(side: Side, more: JsonObject, commands: readonly string[]): Promise<unknown> {
  const image = side.path("a.raw");
  await writeFile(image, Buffer.alloc(MIB, 9));
  const node = { driver: "raw", file: blkdebug(side, more) };
  let seen: unknown;
  if (side.isOurs) {
    await side.run("blockdev-add", { ...node, "node-name": "src" });
    seen = await tryGuest(await exportOverNbd(side, "src"), commands);
    await side.run("nbd-server-stop");
    await side.run("blockdev-del", { "node-name": "src" });
  } else {
    seen = await tryGuest(node, commands);
  }
  const content = await readFile(image);
  const runs: unknown[] = [];
  for (let at = 0; at < content.byteLength; at += SECTOR) {
    if (at === 0 || content[at] !== content[at - SECTOR]) runs.push([at, content[at]]);
  }
  return [seen, runs];
}

const SECTOR = 512;
const R = "read 0 4k";
const W = "write -P 1 0 4k";
const Z = "write -z 0 64k";

function inject(...rules: readonly JsonObject[]): JsonObject {
  return { "inject-error": rules };
}

const none = { event: "none" };

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io"))("blkdebug, as qemu-storage-daemon's", () => {
  const scripts: readonly (readonly [string, JsonObject, readonly string[]])[] = [
    ["strikes every request but status", inject(none), [R, W, Z, "discard 0 64k"]],
    ["strikes from the event on", inject({ event: "read_aio" }), [W, R, W, Z]],
    ["strikes writes", inject({ event: "write_aio" }), [R, Z, W, R]],
    ["strikes writes below their format", inject({ event: "pwritev" }), [R, Z, W, R]],
    ["strikes zeroes", inject({ event: "pwritev_zero" }), [R, W, Z, R]],
    ["strikes what comes after a write", inject({ event: "pwritev_done" }), [R, W, W, R]],
    ["strikes flushes", inject({ event: "flush_to_disk", iotype: "flush" }), [W, "flush"]],
    ["strikes flushes to the host", inject({ event: "flush_to_os", iotype: "flush" }), [W, "flush"]],
    ["does not strike flushes by sector", inject({ ...none, sector: 0, iotype: "flush" }), [W, "flush"]],
    ["knows kinds", inject({ ...none, iotype: "discard" }), [R, W, Z, "discard 0 64k"]],
    ["arms for one kind at the event of another", inject({ event: "pwritev", iotype: "read" }), [R, W, R]],
    ["strikes once", inject({ event: "read_aio", once: true, errno: 28 }), [R, R]],
    [
      "strikes once with each rule",
      inject({ event: "read_aio", once: true, errno: 28 }, { event: "read_aio", once: true }),
      [R, R, R],
    ],
    ["lets the first rule decide", inject({ ...none, errno: 28 }, { ...none, once: true }), [R, R]],
    [
      "lets an event replace what another has armed",
      inject({ ...none, sector: 0 }, { event: "read_aio", sector: 16, errno: 28 }),
      [W, "read 8k 4k", W, R],
    ],
    [
      "knows sectors by their first byte",
      inject({ ...none, sector: 64 }),
      ["read 32256 512", "read 32k 512", "read 33280 512", "read 0 64k", "write -z 0 64k"],
    ],
    ["knows sectors that there are not", inject({ ...none, sector: -2 }), [R]],
    ["lets pass by error number 0, for ever", inject({ ...none, errno: 0, once: true }, none), [R, R]],
    ["fails immediately", inject({ ...none, immediately: true, once: true }), [R, R]],
    [
      "changes state behind the event",
      {
        ...inject({ event: "read_aio", state: 2 }),
        "set-state": [{ event: "read_aio", new_state: 2 }],
      },
      [R, R, R],
    ],
    [
      "goes on striking in another state",
      {
        ...inject({ event: "write_aio", state: 1, iotype: "write" }),
        "set-state": [{ event: "read_aio", new_state: 2 }],
      },
      [W, R, W],
    ],
    [
      "changes to the state of the first rule that fits",
      {
        ...inject({ event: "write_aio", state: 3 }),
        "set-state": [
          { event: "read_aio", state: 2, new_state: 4 },
          { event: "read_aio", new_state: 3 },
          { event: "read_aio", new_state: 2 },
        ],
      },
      [R, W],
    ],
    [
      "changes state when it is made",
      {
        ...inject({ event: "read_aio", state: 2, errno: 28 }, { ...none, state: 2 }),
        "set-state": [{ event: "none", new_state: 2 }],
      },
      [W, R],
    ],
    [
      "cuts writes",
      { "max-transfer": 4096, ...inject({ ...none, iotype: "write", sector: 64 }) },
      ["write -P 1 0 64k"],
    ],
    [
      "cuts reads",
      { "max-transfer": 4096, ...inject({ ...none, iotype: "read", sector: 64, once: true }) },
      ["read 0 64k", "read 0 64k"],
    ],
    [
      "cuts zeroes",
      { "max-write-zero": 4096, ...inject({ ...none, iotype: "write-zeroes", sector: 64 }) },
      [Z],
    ],
    [
      "cuts discards",
      { "max-discard": 4096, ...inject({ ...none, iotype: "discard", sector: 64 }) },
      ["discard 0 64k"],
    ],
    [
      "writes zeroes that are too small",
      { "opt-write-zero": 65_536, ...inject({ ...none, iotype: "write-zeroes" }) },
      ["write -z 4k 4k", Z],
    ],
    [
      "writes the first zeroes up to the unit",
      { "opt-write-zero": 65_536, ...inject({ ...none, iotype: "write", sector: 8 }) },
      ["write -z 4k 128k"],
    ],
    [
      "zeroes whole units",
      { "opt-write-zero": 65_536, ...inject({ ...none, iotype: "write-zeroes", sector: 128 }) },
      ["write -z 4k 128k"],
    ],
    ["takes requests of any alignment", { align: 4096 }, ["write -P 1 512 512", "read -P 1 512 512"]],
  ];
  it.each(scripts)("%s", async (_title, more, commands) => {
    await compare((side) => disturbed(side, more, commands));
  });

  it("takes the same limits", async () => {
    const values = [-1, 0, 1, 3, 512, 513, 4096, 12_288, 2 ** 30, 2 ** 31 - 512, 2 ** 31 - 1, 2 ** 31];
    const limits = ["max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard"];
    await compare((side) =>
      tryAdd(side, [
        ...[-1, 0, 1, 3, 512, 513, 4096, 65_536, 2 ** 31 - 1, 2 ** 31].map((align) => ({ align })),
        ...limits.flatMap((name) =>
          values.flatMap((value): JsonObject[] => [{ [name]: value }, { align: 4096, [name]: value }]),
        ),
        { "opt-write-zero": 512, "max-write-zero": 1000 },
        { "opt-discard": 512, "max-discard": 1000 },
        { "opt-discard": 512, "max-discard": 1024 },
      ]),
    );
  });

  it("takes the same rules", async () => {
    const bad: readonly JsonObject[] = [
      {},
      { event: "bogus" },
      { event: 1 },
      { ...none, iotype: "bogus" },
      { ...none, bogus: 1 },
      { ...none, state: -1 },
      { ...none, sector: 2 ** 50 },
      { event: "pwritev_zero", iotype: "read" },
    ];
    const states: readonly JsonValue[] = [
      { event: "read_aio" },
      { event: "read_aio", new_state: -1 },
      { event: "read_aio", state: 7, new_state: 2 },
      { ...none, new_state: 2, once: true },
    ];
    await compare((side) =>
      tryAdd(side, [
        ...bad.map((rule) => inject(rule)),
        ...states.map((rule) => ({ "set-state": [rule] })),
        { "inject-error": none },
        { config: "/nonexistent" },
      ]),
    );
  });
});

const E = '[inject-error]\nevent = "none"\n';

describe.skipIf(lacksPeers("qemu-storage-daemon", "qemu-io"))("blkdebug's configuration file", () => {
  const files: readonly string[] = [
    "",
    E,
    "# c\n\n[inject-error]\n",
    '[set-state]\nevent = "read_aio"\nstate = "1"\nnew_state = "2"\n[inject-error]\nevent = "read_aio"\nstate = "2"\nerrno = "28"\nonce = "on"\n',
    `${E}errno = "28"\n${E}`,
    `${E}iotype = "write"\nerrno = "0x1c"`,
    `${E}errno = "034"\nsector = "-1"\n`,
    `${E}errno = " 28"\nsector = "8"\n`,
    `${E}errno = "0"\n`,
    '[inject-error "x"]\nevent = "none"\n',
    '[inject-error] # c\n\tevent  =\t"none" # c\r\nid = "x"\n',
    ...["on", "yes", "true", "y", "off", "no", "false", "n"].map((word) => `${E}once = "${word}"\n`),
    `${E}immediately = "on"\n`,
    '[inject-error]\nevent ="none"\n',
    '[inject-error]\nevent = "none"\nevent = "read_aio"\n',
    '[set-state]\nevent = "read_aio"\n',
    // These are refused.
    '[bogus]\nx = "1"\n',
    '[inject-error]\nevent = "bogus"\n',
    `${E}bogus = "1"\n`,
    "[inject-error]\nevent = none\n",
    '[inject-error]\nevent = "none\n',
    '[inject-error]\nevent="none"\n',
    '[inject-error]\nevent= "none"\n',
    '[inject-error]\nevent = ""\n',
    '[inject-error]\nevent = "no\\"ne"\n',
    ...["abc", "", "28 ", "1k", "08", "0x"].map((word) => `${E}errno = "${word}"\n`),
    ...["maybe", "", "ON"].map((word) => `${E}once = "${word}"\n`),
    `${E}iotype = "bogus"\n`,
    `${E}sector = "99999999999999999999"\n`,
    `${E}   \n`,
    `${E}  # c\n`,
    `${E}; c\n`,
    'event = "none"\n',
    "garbage\n",
    `${E}garbage\n`,
    '[inject-error ]\nevent = "none"\n',
    '[ inject-error]\nevent = "none"\n',
    ' [inject-error]\nevent = "none"\n',
    '[inject-error\nevent = "none"\n',
    '[inject-error x]\nevent = "none"\n',
    '[inject-error ""]\nevent = "none"\n',
    '[inject-error "a b"]\nevent = "none"\n',
    '[inject-error "1"]\nevent = "none"\n',
    '[inject-error "a"]\nevent = "none"\n[inject-error "a"]\nevent = "none"\n',
    '[inject-error "a"]\nevent = "none"\n[set-state "a"]\nevent = "none"\nnew_state = "1"\n',
    '[set-state]\nevent = "none"\nerrno = "5"\n',
    '[suspend]\nevent = "none"\ntag = "x"\n',
  ];

  it("is taken or refused, and its rules strike, all the same", async () => {
    await compare(async (side) => {
      const config = side.path("rules.cfg");
      await makeImage(side, "a.raw", MIB, 0);
      const seen: unknown[] = [];
      for (const text of files) {
        await writeFile(config, text);
        const [answer] = await tryAdd(side, [{ config }]);
        seen.push([text, answer]);
        if (answer !== undefined && "return" in answer)
          seen.push(await disturbed(side, { config }, [R, R, W, R]));
      }
      return seen;
    });
  }, 120_000);

  it("comes before the rules given beside it", async () => {
    await compare(async (side) => {
      const config = side.path("rules.cfg");
      await writeFile(config, `${E}errno = "28"\n`);
      return disturbed(side, { config, ...inject(none) }, [R]);
    });
  });
});
