import type { JsonObject } from "@blockmirror/qmp";

import {
  addr,
  bitmap,
  chain,
  concluded,
  MIRROR,
  mirror,
  node,
  pair,
  paused,
  pending,
  server,
  SIZE,
} from "./command-setups.ts";
import type { Side } from "./sides.ts";

type ErrorClass = "GenericError" | "CommandNotFound" | "DeviceNotActive" | "DeviceNotFound";

/** One way to be refused: what for, with which arguments, and the class of the answer. */
type Refusal = readonly [why: string, args: JsonObject, errorClass?: ErrorClass];

/** What is asked of a command through a socket. */
export interface Row {
  /** Makes what the command works on. */
  readonly given?: (side: Side) => Promise<unknown>;
  readonly refused: readonly Refusal[];
  /** Arguments that it accepts; absent where the connection is over then. */
  readonly accepted: (side: Side) => JsonObject;
}

/** A group of throttled nodes, `g`. */
const group = (side: Side): Promise<unknown> =>
  side.run("object-add", { "qom-type": "throttle-group", id: "g" });

const B = { node: "src", name: "b" };
const JOB: Refusal = ["an unknown job", { id: "zz" }];
const BLOCK_JOB: Refusal = ["an unknown job", { id: "zz" }, "DeviceNotActive"];
const DEVICE: Refusal = ["an unknown job", { device: "zz" }, "DeviceNotActive"];
const BITMAP: readonly Refusal[] = [
  ["an unknown bitmap", { ...B, name: "zz" }],
  ["an unknown node", { ...B, node: "zz" }],
];
const UNEXPECTED: Refusal = ["an unknown argument", { zzz: 1 }];

function mirrorRefusals(common: JsonObject): readonly Refusal[] {
  return [
    ["no job id", { ...common, "job-id": "" }],
    ["a bad job id", { ...common, "job-id": "1j" }],
    ["an unknown device", { ...common, device: "zz" }],
    ["a bad sync", { ...common, sync: "weird" }],
    ["a sync that is for backups", { ...common, sync: "incremental" }],
    ["a granularity that is no power of two", { ...common, granularity: 1000 }],
    ["a granularity that is too small", { ...common, granularity: 256 }],
    ["a negative speed", { ...common, speed: -1 }],
    ["a negative buffer", { ...common, "buf-size": -1 }],
    ["an unknown node to replace", { ...common, "node-name": "new", replaces: "zz" }],
    ["an argument of a wrong type", { ...common, "auto-dismiss": "no" }],
    ["an argument missing", {}],
  ];
}

/** Every command, and how each can be refused: the rows of the protocol's tables. */
export const COMMANDS: Readonly<Record<string, Row>> = {
  qmp_capabilities: { refused: [["a second time", {}, "CommandNotFound"]], accepted: () => ({}) },
  "query-version": { refused: [UNEXPECTED], accepted: () => ({}) },
  "query-commands": { refused: [UNEXPECTED], accepted: () => ({}) },
  "query-qmp-schema": { refused: [UNEXPECTED], accepted: () => ({}) },
  quit: { refused: [UNEXPECTED], accepted: () => ({}) },
  "blockdev-add": {
    given: pair,
    refused: [
      ["no name", { driver: "memory", size: 1 }],
      ["a bad name", node("1bad")],
      ["a name that is taken", node("src")],
      ["no driver", { "node-name": "x" }],
      ["an unknown driver", { driver: "zz", "node-name": "x" }],
      ["a file that is not there", { driver: "file", "node-name": "x", filename: "/nonexistent" }],
      ["a node that is not there", { driver: "raw", "node-name": "x", file: "zz" }],
      ["what is no qcow2", { driver: "qcow2", "node-name": "x", file: "src" }],
      ["an argument of a wrong type", node("x", { "read-only": "yes" })],
      ["an unknown argument", { driver: "null-co", "node-name": "x", zzz: 1 }],
    ],
    accepted: () => node("x"),
  },
  "blockdev-del": {
    given: mirror(),
    refused: [
      ["an unknown node", { "node-name": "zz" }],
      ["the source of a job", { "node-name": "src" }],
      ["the target of a job", { "node-name": "dst" }],
      ["an argument missing", {}],
    ],
    accepted: () => ({ "node-name": "small" }),
  },
  "blockdev-reopen": {
    given: chain,
    refused: [
      ["an unknown node", { options: [{ driver: "qcow2", "node-name": "zz", file: "x" }] }],
      ["another file", { options: [{ driver: "qcow2", "node-name": "top", file: "base-file" }] }],
      ["an argument missing", {}],
    ],
    accepted: () => ({
      options: [{ driver: "qcow2", "node-name": "top", file: "top-file", backing: null }],
    }),
  },
  "blockdev-create": {
    given: mirror(),
    refused: [
      ["a bad job id", { "job-id": "1", options: { driver: "file", filename: "x", size: 0 } }],
      ["a job id that is taken", { "job-id": "j", options: { driver: "file", filename: "x", size: 0 } }],
      ["an unknown driver", { "job-id": "c", options: { driver: "zz" } }],
      ["an argument missing", { "job-id": "c", options: { driver: "file", filename: "x" } }],
    ],
    accepted: (side) => ({
      "job-id": "c",
      options: { driver: "file", filename: side.path("made"), size: 512 },
    }),
  },
  block_resize: {
    given: pair,
    refused: [
      ["an unknown node", { "node-name": "zz", size: 512 }],
      ["a guest's device", { device: "src", size: 512 }],
      ["a negative size", { "node-name": "src", size: -1 }],
      ["a node that is read-only", { "node-name": "ro", size: 512 }],
    ],
    accepted: () => ({ "node-name": "src", size: 2 * SIZE }),
  },
  "change-backing-file": {
    given: chain,
    refused: [
      ["an unknown device", { device: "zz", "image-node-name": "top", "backing-file": "x" }],
      ["an unknown image", { device: "top", "image-node-name": "zz", "backing-file": "x" }],
      ["an image of another chain", { device: "base", "image-node-name": "top", "backing-file": "x" }],
      ["an image on nothing", { device: "base", "image-node-name": "base", "backing-file": "x" }],
    ],
    accepted: () => ({ device: "top", "image-node-name": "top", "backing-file": "elsewhere" }),
  },
  "query-named-block-nodes": { refused: [["a wrong type", { flat: 1 }]], accepted: () => ({ flat: true }) },
  "query-block": { refused: [UNEXPECTED], accepted: () => ({}) },
  "query-blockstats": { refused: [["a wrong type", { "query-nodes": 1 }]], accepted: () => ({}) },
  "block-set-write-threshold": {
    given: pair,
    refused: [
      ["an unknown node", { "node-name": "zz", "write-threshold": 1 }],
      ["a negative threshold", { "node-name": "src", "write-threshold": -1 }],
    ],
    accepted: () => ({ "node-name": "src", "write-threshold": 512 }),
  },
  "x-debug-query-block-graph": { refused: [UNEXPECTED], accepted: () => ({}) },
  "blockdev-mirror": {
    given: pair,
    refused: [
      ...mirrorRefusals(MIRROR).filter(([why]) => !why.includes("replace")),
      ["an unknown node to replace", { ...MIRROR, replaces: "zz" }],
      ["an unknown target", { ...MIRROR, target: "zz" }],
      ["the source for a target", { ...MIRROR, target: "src" }],
      ["a target that is read-only", { ...MIRROR, target: "ro" }],
      ["a name for the filter that is taken", { ...MIRROR, "filter-node-name": "dst" }],
    ],
    accepted: () => MIRROR,
  },
  "drive-mirror": {
    given: pair,
    refused: [
      ...mirrorRefusals({ "job-id": "j", device: "src", target: "/dev/null/x", sync: "full" }),
      ["a target that cannot be made", { ...MIRROR, target: "/dev/null/x" }],
      ["a target that is not there", { ...MIRROR, target: "/dev/null/x", mode: "existing" }],
      ["an unknown format", { ...MIRROR, target: "/dev/null/x", format: "zz" }],
      ["a node to replace without a name", { ...MIRROR, target: "/dev/null/x", replaces: "src" }],
    ],
    accepted: (side) => ({ ...MIRROR, target: side.path("made") }),
  },
  "block-commit": {
    given: chain,
    refused: [
      ["an unknown device", { "job-id": "j", device: "zz" }, "DeviceNotFound"],
      ["an unknown top", { "job-id": "j", device: "top", "top-node": "zz" }],
      ["an unknown file for a top", { "job-id": "j", device: "top", top: "zz" }],
      ["an unknown file for a base", { "job-id": "j", device: "top", base: "zz" }],
      ["two tops", { "job-id": "j", device: "top", top: "zz", "top-node": "top" }],
      ["two bases", { "job-id": "j", device: "top", base: "zz", "base-node": "base" }],
      ["a base that is the top", { "job-id": "j", device: "top", "base-node": "top" }],
      ["a base of another chain", { "job-id": "j", device: "top", "base-node": "base-file" }],
      ["a name for the active layer", { "job-id": "j", device: "top", "backing-file": "x" }],
      ["no job id", { device: "top" }],
    ],
    accepted: () => ({ "job-id": "j", device: "top", "base-node": "base" }),
  },
  "block-stream": {
    given: chain,
    refused: [
      ["an unknown device", { "job-id": "j", device: "zz" }],
      ["an unknown base", { "job-id": "j", device: "top", "base-node": "zz" }],
      ["a base and a bottom", { "job-id": "j", device: "top", "base-node": "base", bottom: "top" }],
      ["no job id", { device: "top" }],
    ],
    accepted: () => ({ "job-id": "j", device: "top" }),
  },
  "query-jobs": { given: mirror(), refused: [UNEXPECTED], accepted: () => ({}) },
  "query-block-jobs": { given: mirror(), refused: [UNEXPECTED], accepted: () => ({}) },
  "job-pause": { given: mirror(), refused: [JOB], accepted: () => ({ id: "j" }) },
  "job-resume": { given: paused, refused: [JOB], accepted: () => ({ id: "j" }) },
  "job-cancel": { given: mirror(), refused: [JOB], accepted: () => ({ id: "j" }) },
  "job-complete": { given: mirror(), refused: [JOB], accepted: () => ({ id: "j" }) },
  "job-finalize": { given: pending, refused: [JOB], accepted: () => ({ id: "j" }) },
  "job-dismiss": { given: concluded, refused: [JOB], accepted: () => ({ id: "j" }) },
  "block-job-pause": { given: mirror(), refused: [DEVICE], accepted: () => ({ device: "j" }) },
  "block-job-resume": { given: paused, refused: [DEVICE], accepted: () => ({ device: "j" }) },
  "block-job-cancel": { given: mirror(), refused: [DEVICE], accepted: () => ({ device: "j" }) },
  "block-job-complete": { given: mirror(), refused: [DEVICE], accepted: () => ({ device: "j" }) },
  "block-job-finalize": { given: pending, refused: [BLOCK_JOB], accepted: () => ({ id: "j" }) },
  "block-job-dismiss": { given: concluded, refused: [BLOCK_JOB], accepted: () => ({ id: "j" }) },
  "block-job-set-speed": {
    given: mirror(),
    refused: [
      ["an unknown job", { device: "zz", speed: 0 }, "DeviceNotActive"],
      ["a negative speed", { device: "j", speed: -5 }],
    ],
    accepted: () => ({ device: "j", speed: 1 }),
  },
  "block-job-change": {
    given: mirror(),
    refused: [
      ["an unknown job", { id: "zz", type: "mirror", "copy-mode": "write-blocking" }, "DeviceNotActive"],
      ["an unknown mode", { id: "j", type: "mirror", "copy-mode": "weird" }],
    ],
    accepted: () => ({ id: "j", type: "mirror", "copy-mode": "write-blocking" }),
  },
  "block-dirty-bitmap-add": {
    given: bitmap,
    refused: [
      ["a name that is taken", B],
      ["an unknown node", { ...B, node: "zz" }],
      ["a granularity that is no power of two", { ...B, name: "d", granularity: 1000 }],
      ["an image that cannot store it", { ...B, name: "d", persistent: true }],
      ["a name that is too long", { ...B, name: "d".repeat(1024) }],
    ],
    accepted: () => ({ ...B, name: "d" }),
  },
  "block-dirty-bitmap-remove": { given: bitmap, refused: BITMAP, accepted: () => B },
  "block-dirty-bitmap-clear": { given: bitmap, refused: BITMAP, accepted: () => B },
  "block-dirty-bitmap-enable": { given: bitmap, refused: BITMAP, accepted: () => B },
  "block-dirty-bitmap-disable": { given: bitmap, refused: BITMAP, accepted: () => B },
  "block-dirty-bitmap-merge": {
    given: bitmap,
    refused: [
      ["an unknown target", { node: "src", target: "zz", bitmaps: ["b"] }],
      ["an unknown bitmap", { node: "src", target: "b", bitmaps: ["zz"] }],
      ["a bitmap of an unknown node", { node: "src", target: "b", bitmaps: [{ node: "zz", name: "c" }] }],
    ],
    accepted: () => ({ node: "src", target: "b", bitmaps: ["c"] }),
  },
  "x-debug-block-dirty-bitmap-sha256": { given: bitmap, refused: BITMAP, accepted: () => B },
  transaction: {
    given: bitmap,
    refused: [
      ["an unknown action", { actions: [{ type: "zz", data: {} }] }],
      [
        "an action that fails",
        { actions: [{ type: "block-dirty-bitmap-clear", data: { ...B, name: "zz" } }] },
      ],
      ["an action that says so", { actions: [{ type: "abort", data: {} }] }],
    ],
    accepted: () => ({ actions: [{ type: "block-dirty-bitmap-clear", data: B }] }),
  },
  "nbd-server-start": {
    refused: [
      ["a place that is not there", { addr: { type: "unix", data: { path: "/dev/null/x" } } }],
      ["an address that is not wrapped", { addr: { type: "unix", path: "/dev/null/x" } }],
      ["an unknown kind of address", { addr: { type: "zz", data: {} } }],
    ],
    accepted: (side) => ({ addr: addr(side) }),
  },
  "nbd-server-stop": { given: server, refused: [UNEXPECTED], accepted: () => ({}) },
  "nbd-server-add": {
    given: server,
    refused: [
      ["an unknown node", { device: "zz" }],
      ["a name that is taken", { device: "src", name: "dst" }],
      ["an unknown bitmap", { device: "src", bitmap: "zz" }],
    ],
    accepted: () => ({ device: "src" }),
  },
  "nbd-server-remove": {
    given: server,
    refused: [["an unknown export", { name: "zz" }]],
    accepted: () => ({ name: "e" }),
  },
  "block-export-add": {
    given: server,
    refused: [
      ["an id that is taken", { type: "nbd", id: "e", "node-name": "src" }],
      ["a bad id", { type: "nbd", id: "1", "node-name": "src" }],
      ["a name that is taken", { type: "nbd", id: "f", "node-name": "dst" }],
      ["an unknown node", { type: "nbd", id: "f", "node-name": "zz" }],
      ["an unknown bitmap", { type: "nbd", id: "f", "node-name": "src", bitmaps: ["zz"] }],
      ["a node that is read-only, writable", { type: "nbd", id: "f", "node-name": "ro", writable: true }],
      ["an unknown type", { type: "zz", id: "f", "node-name": "src" }],
    ],
    accepted: () => ({ type: "nbd", id: "f", "node-name": "src" }),
  },
  "block-export-del": {
    given: server,
    refused: [
      ["an unknown export", { id: "zz" }],
      ["an unknown mode", { id: "e", mode: "gently" }],
    ],
    accepted: () => ({ id: "e" }),
  },
  "query-block-exports": { given: server, refused: [UNEXPECTED], accepted: () => ({}) },
  "object-add": {
    refused: [
      ["an unknown type", { "qom-type": "zz", id: "o" }],
      ["files that are not there", { "qom-type": "tls-creds-x509", id: "o", dir: "/nonexistent" }],
    ],
    accepted: () => ({ "qom-type": "throttle-group", id: "o" }),
  },
  "object-del": {
    given: group,
    refused: [["an unknown object", { id: "zz" }]],
    accepted: () => ({ id: "g" }),
  },
  "qom-get": {
    given: group,
    refused: [
      ["an unknown object", { path: "/objects/zz", property: "limits" }, "DeviceNotFound"],
      ["an unknown property", { path: "/objects/g", property: "zz" }],
    ],
    accepted: () => ({ path: "/objects/g", property: "limits" }),
  },
  "qom-set": {
    given: group,
    refused: [
      ["an unknown object", { path: "/objects/zz", property: "limits", value: {} }, "DeviceNotFound"],
      ["an unknown property", { path: "/objects/g", property: "zz", value: 1 }],
      ["a limit below zero", { path: "/objects/g", property: "limits", value: { "bps-total": -1 } }],
    ],
    accepted: () => ({ path: "/objects/g", property: "limits", value: { "bps-total": 1_000_000 } }),
  },
  "x-blockmirror-query-jobs": { given: mirror(), refused: [UNEXPECTED], accepted: () => ({}) },
  "x-blockmirror-query-dirty-map": {
    given: mirror(),
    refused: [JOB, ["too few cells", { id: "j", cells: 0 }], ["too many cells", { id: "j", cells: 65_537 }]],
    accepted: () => ({ id: "j", cells: 4 }),
  },
};
