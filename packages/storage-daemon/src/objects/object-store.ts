import type { ThrottleGroup } from "@blockmirror/block-driver";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { systemClock, type Clock } from "@blockmirror/ratelimit";
import { createThrottleGroup } from "./throttle-groups.ts";
import { loadX509, type X509Credentials } from "./x509-credentials.ts";

type ObjectOptions = BlockType<"ObjectOptions">;

const OBJECT_ID = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** The objects of a daemon: what other commands refer to by id. There are credentials for TLS and groups of throttled nodes. */
export class ObjectStore {
  readonly #objects: Map<string, X509Credentials> = new Map();
  readonly #groups: Map<string, ThrottleGroup> = new Map();
  readonly #clock: Clock;

  /** `clock` is the time that limits are kept in. */
  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  /** @throws QmpError when the id is bad or taken, or the files are not what they have to be. */
  async add(options: ObjectOptions): Promise<void> {
    const { id } = options;
    if (!OBJECT_ID.test(id)) throw commandError(`Parameter 'id' expects an identifier, not '${id}'`);
    if (this.typeOf(id) !== undefined) throw commandError(`There is an object '${id}' already`);
    if (options["qom-type"] === "throttle-group") {
      this.#groups.set(id, createThrottleGroup(options, this.#clock));
      return;
    }
    if (options["qom-type"] !== "tls-creds-x509") {
      throw commandError(`Objects of type '${options["qom-type"]}' are not supported`);
    }
    this.#objects.set(id, await loadX509(options));
  }

  /**
   * What uses credentials goes on with what it got.
   * @throws QmpError when there is none, or it is a group that nodes use.
   */
  remove(id: string): void {
    const group = this.#groups.get(id);
    if (group !== undefined) {
      if (group.memberCount > 0) throw commandError(`object '${id}' is in use, can not be deleted`);
      this.#groups.delete(id);
      return;
    }
    if (!this.#objects.delete(id)) throw commandError(`object '${id}' not found`);
  }

  /** The type of an object, or undefined when there is none of that id. */
  typeOf(id: string): ObjectOptions["qom-type"] | undefined {
    if (this.#groups.has(id)) return "throttle-group";
    return this.#objects.has(id) ? "tls-creds-x509" : undefined;
  }

  /** @throws QmpError when there is none. */
  throttleGroup(id: string): ThrottleGroup {
    const group = this.#groups.get(id);
    if (group === undefined) throw commandError(`Throttle group '${id}' does not exist`);
    return group;
  }

  /** @throws QmpError when there is none, or it is for the other side. */
  credentials(id: string, endpoint: X509Credentials["endpoint"]): X509Credentials {
    const found = this.#objects.get(id);
    if (found === undefined) throw commandError(`No TLS credentials with id '${id}'`);
    if (found.endpoint !== endpoint) {
      throw commandError(
        `Expecting TLS credentials with a ${endpoint} endpoint: '${id}' has ${found.endpoint}`,
      );
    }
    return found;
  }
}
