import { commandError, type BlockType } from "@blockmirror/qmp";
import { loadX509, type X509Credentials } from "./x509-credentials.ts";

type ObjectOptions = BlockType<"ObjectOptions">;

const OBJECT_ID = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** The objects of a daemon: what other commands refer to by id. Credentials for TLS are the only kind there is. */
export class ObjectStore {
  readonly #objects: Map<string, X509Credentials> = new Map();

  /** @throws QmpError when the id is bad or taken, or the files are not what they have to be. */
  async add(options: ObjectOptions): Promise<void> {
    const { id } = options;
    if (!OBJECT_ID.test(id)) throw commandError(`Parameter 'id' expects an identifier, not '${id}'`);
    if (this.#objects.has(id)) throw commandError(`There is an object '${id}' already`);
    if (options["qom-type"] !== "tls-creds-x509") {
      throw commandError(`Objects of type '${options["qom-type"]}' are not supported`);
    }
    this.#objects.set(id, await loadX509(options));
  }

  /** What uses it goes on with what it got. @throws QmpError when there is none. */
  remove(id: string): void {
    if (!this.#objects.delete(id)) throw commandError(`object '${id}' not found`);
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
