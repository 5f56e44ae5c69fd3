import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";

import { PeerError } from "./error.ts";

/** Each program that tests and benchmarks measure themselves against, with the Debian package that brings it. */
const DEBIAN_PACKAGES = {
  "qemu-img": "qemu-utils",
  "qemu-io": "qemu-utils",
  "qemu-nbd": "qemu-utils",
  "qemu-storage-daemon": "qemu-system-common",
  nbdkit: "nbdkit",
  nbdcopy: "libnbd-bin",
  nbdinfo: "libnbd-bin",
  fio: "fio",
  tmux: "tmux",
} as const;

/** A program this package knows how to find. */
export type PeerName = keyof typeof DEBIAN_PACKAGES;

/** Every known peer, in the order reports list them. */
export const PEER_NAMES: readonly PeerName[] = Object.keys(DEBIAN_PACKAGES).filter(isPeerName);

function isPeerName(name: string): name is PeerName {
  return Object.hasOwn(DEBIAN_PACKAGES, name);
}

function isExecutableFile(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Where a peer may be; tests pass their own. */
export interface PeerEnvironment {
  /** Directories to search, separated as the platform does. */
  readonly PATH?: string | undefined;
  /** `1`: a missing peer is an error and never a skip. Set in CI. */
  readonly BLOCKMIRROR_REQUIRE_PEERS?: string | undefined;
}

/** Absolute path of a peer, or `undefined` when it is not in `PATH`. Says nothing and never throws. */
export function findPeer(name: PeerName, env: PeerEnvironment = process.env): string | undefined {
  for (const directory of (env.PATH ?? "").split(delimiter)) {
    if (directory === "") continue;
    const path = join(directory, name);
    if (isExecutableFile(path)) return path;
  }
  return undefined;
}

function missing(name: PeerName): string {
  return `${name} was not found in PATH; install it with: apt-get install ${DEBIAN_PACKAGES[name]}`;
}

/**
 * Absolute path of a peer that the caller cannot do without.
 *
 * @throws {@link PeerError} `PEER_MISSING`, naming the package to install.
 */
export function requirePeer(name: PeerName, env: PeerEnvironment = process.env): string {
  const path = findPeer(name, env);
  if (path === undefined) throw new PeerError("PEER_MISSING", missing(name));
  return path;
}

const announced = new Set<PeerName>();

/**
 * Absolute path of a peer, or `undefined` after saying on stderr that what needs it is skipped.
 * One line per peer and process, so that a suite of many files stays readable.
 *
 * @throws {@link PeerError} `PEER_MISSING` instead of skipping when `BLOCKMIRROR_REQUIRE_PEERS=1`.
 */
export function peerOrSkip(name: PeerName, env: PeerEnvironment = process.env): string | undefined {
  if (env.BLOCKMIRROR_REQUIRE_PEERS === "1") return requirePeer(name, env);
  const path = findPeer(name, env);
  if (path === undefined && !announced.has(name)) {
    announced.add(name);
    console.warn(`SKIPPED, no peer: ${missing(name)}`);
  }
  return path;
}

/**
 * For `describe.skipIf(lacksPeers("qemu-img", "qemu-io"))`: true, after saying so, when any of them is missing.
 *
 * @throws {@link PeerError} `PEER_MISSING` instead of skipping when `BLOCKMIRROR_REQUIRE_PEERS=1`.
 */
export function lacksPeers(...names: readonly PeerName[]): boolean {
  return names.filter((name) => peerOrSkip(name) === undefined).length > 0;
}
