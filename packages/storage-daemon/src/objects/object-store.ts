import type { ThrottleGroup } from "@blockmirror/block-driver";
import type { NbdServerTls, NbdTlsFiles } from "@blockmirror/nbd";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { systemClock, type Clock } from "@blockmirror/ratelimit";
import { loadPsk } from "./psk-credentials.ts";
import { loadSecret, type Secret } from "./secret.ts";
import { createThrottleGroup } from "./throttle-groups.ts";
import type { TlsCredentials } from "./tls-credentials.ts";
import { loadX509 } from "./x509-credentials.ts";

type ObjectOptions = BlockType<"ObjectOptions">;

/** Nodes that share limits. */
interface Throttling {
  readonly type: "throttle-group";
  readonly group: ThrottleGroup;
}

type DaemonObject = Secret | Throttling | TlsCredentials;

interface Entry {
  readonly qomType: ObjectOptions["qom-type"];
  readonly object: DaemonObject;
}

const OBJECT_ID = /^[A-Za-z][A-Za-z0-9._-]*$/;

/**
 * The objects of a daemon, which other commands refer to by id: groups of throttled nodes, credentials for TLS, and secrets
 * that these need.
 */
export class ObjectStore {
  readonly #entries: Map<string, Entry> = new Map();
  readonly #clock: Clock;
  /** How many wait to join a group, or may have to go back to it. */
  readonly #keepers: Map<ThrottleGroup, number> = new Map();

  /** `clock` is the time that limits are kept in. */
  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** @throws QmpError when the id is bad or taken, or the options or files are not what they have to be. */
  async add(options: ObjectOptions): Promise<void> {
    const { id } = options;
    if (!OBJECT_ID.test(id)) throw commandError(`Parameter 'id' expects an identifier, not '${id}'`);
    this.#mustBeFree(id);
    const object = await this.#make(options);
    // Reading files takes time: somebody else may have been quicker.
    this.#mustBeFree(id);
    this.#entries.set(id, { qomType: options["qom-type"], object });
  }

  /**
   * What uses credentials goes on with what it got.
   * @throws QmpError when there is none, or it is a group that nodes use.
   */
  remove(id: string): void {
    const object = this.#find(id);
    if (object === undefined) throw commandError(`object '${id}' not found`);
    if (
      object.type === "throttle-group" &&
      (object.group.memberCount > 0 || this.#keepers.has(object.group))
    ) {
      throw commandError(`object '${id}' is in use, can not be deleted`);
    }
    this.#entries.delete(id);
  }

  /** The type of an object, or undefined when there is none of that id. */
  typeOf(id: string): ObjectOptions["qom-type"] | undefined {
    return this.#entries.get(id)?.qomType;
  }

  /** @throws QmpError when there is none. */
  throttleGroup(id: string): ThrottleGroup {
    const object = this.#find(id);
    if (object?.type !== "throttle-group") throw commandError(`Throttle group '${id}' does not exist`);
    return object.group;
  }

  /**
   * Has a group count as used until the function returned is called. Opening a node takes time, and it joins its group at
   * the end: a group that was removed meanwhile would limit nodes that no client can reach it by.
   */
  keepGroup(group: ThrottleGroup): () => void {
    const count = (by: number): void => {
      const keepers = (this.#keepers.get(group) ?? 0) + by;
      if (keepers === 0) this.#keepers.delete(group);
      else this.#keepers.set(group, keepers);
    };
    count(1);
    return () => count(-1);
  }

  /** @throws QmpError when there are none, or they are a client's. */
  serverCredentials(id: string): NbdServerTls {
    const found = this.#credentials(id);
    if (found.type === "tls-server") return found.tls;
    throw commandError(`Expected TLS credentials for a server endpoint: '${id}' is a client's`);
  }

  /** @throws QmpError when there are none, or they are a server's. */
  clientCredentials(id: string): NbdTlsFiles {
    const found = this.#credentials(id);
    if (found.type === "tls-client") return found.tls;
    throw commandError(`Expected TLS credentials for a client endpoint: '${id}' is a server's`);
  }

  async #make(options: ObjectOptions): Promise<DaemonObject> {
    switch (options["qom-type"]) {
      case "secret":
        return loadSecret(options, (id) => this.#secret(id));
      case "throttle-group":
        return { type: "throttle-group", group: createThrottleGroup(options, this.#clock) };
      case "tls-creds-psk":
        return loadPsk(options);
      case "tls-creds-x509":
        return loadX509(options, (id) => this.#secret(id));
    }
  }

  #find(id: string): DaemonObject | undefined {
    return this.#entries.get(id)?.object;
  }

  #credentials(id: string): TlsCredentials {
    const found = this.#find(id);
    if (found === undefined) throw commandError(`No TLS credentials with id '${id}'`);
    if (found.type === "tls-server" || found.type === "tls-client") return found;
    throw commandError(`Object with id '${id}' is not TLS credentials`);
  }

  #secret(id: string): Buffer {
    const found = this.#find(id);
    if (found === undefined) throw commandError(`No secret with id '${id}'`);
    if (found.type !== "secret") throw commandError(`Object with id '${id}' is not a secret`);
    return found.content;
  }

  #mustBeFree(id: string): void {
    if (this.#entries.has(id)) throw commandError(`There is an object '${id}' already`);
  }
}
