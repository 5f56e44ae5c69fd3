import type { NbdServerTls, NbdTlsFiles } from "@blockmirror/nbd";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { loadPsk } from "./psk-credentials.ts";
import { loadSecret, type Secret } from "./secret.ts";
import type { TlsCredentials } from "./tls-credentials.ts";
import { loadX509 } from "./x509-credentials.ts";

type ObjectOptions = BlockType<"ObjectOptions">;

type DaemonObject = Secret | TlsCredentials;

const OBJECT_ID = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** The objects of a daemon, which other commands refer to by id: credentials for TLS, and secrets that these need. */
export class ObjectStore {
  readonly #objects: Map<string, DaemonObject> = new Map();

  /** @throws QmpError when the id is bad or taken, or the options or files are not what they have to be. */
  async add(options: ObjectOptions): Promise<void> {
    const { id } = options;
    if (!OBJECT_ID.test(id)) throw commandError(`Parameter 'id' expects an identifier, not '${id}'`);
    this.#mustBeFree(id);
    const made = await this.#make(options);
    // Reading files takes time: somebody else may have been quicker.
    this.#mustBeFree(id);
    this.#objects.set(id, made);
  }

  /** What uses it goes on with what it got. @throws QmpError when there is none. */
  remove(id: string): void {
    if (!this.#objects.delete(id)) throw commandError(`object '${id}' not found`);
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
      case "tls-creds-psk":
        return loadPsk(options);
      case "tls-creds-x509":
        return loadX509(options, (id) => this.#secret(id));
      default:
        throw commandError(`Objects of type '${options["qom-type"]}' are not supported`);
    }
  }

  #credentials(id: string): TlsCredentials {
    const found = this.#objects.get(id);
    if (found === undefined) throw commandError(`No TLS credentials with id '${id}'`);
    if (found.type === "secret") throw commandError(`Object with id '${id}' is not TLS credentials`);
    return found;
  }

  #secret(id: string): Buffer {
    const found = this.#objects.get(id);
    if (found === undefined) throw commandError(`No secret with id '${id}'`);
    if (found.type !== "secret") throw commandError(`Object with id '${id}' is not a secret`);
    return found.content;
  }

  #mustBeFree(id: string): void {
    if (this.#objects.has(id)) throw commandError(`There is an object '${id}' already`);
  }
}
