import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { commandError, type BlockType } from "@blockmirror/qmp";

/** Certificates of one side, read from a directory in QEMU's layout. */
export interface X509Credentials {
  readonly endpoint: "client" | "server";
  readonly directory: string;
  /** PEM texts; a client may do without a certificate of its own. */
  readonly ca: string;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** Whether the server wants to know its clients. */
  readonly verifyPeer: boolean;
}

/**
 * Reads `ca-cert.pem`, and `server-cert.pem` with `server-key.pem` or `client-cert.pem` with `client-key.pem`.
 *
 * @throws QmpError naming the file that is missing.
 */
export async function loadX509(options: {
  readonly dir?: string;
  readonly endpoint?: BlockType<"QCryptoTLSCredsEndpoint">;
  readonly "verify-peer"?: boolean;
  readonly priority?: string;
  readonly passwordid?: string;
}): Promise<X509Credentials> {
  if (options.passwordid !== undefined || options.priority !== undefined) {
    throw commandError("Parameters 'passwordid' and 'priority' are not supported; leave them out");
  }
  const { dir, endpoint = "client" } = options;
  if (dir === undefined) throw commandError("Missing 'dir' property value");
  const read = async (name: string): Promise<string> => {
    try {
      return await readFile(join(dir, name), "utf8");
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw commandError(`Unable to access credentials: ${why}`);
    }
  };
  const isServer = endpoint === "server";
  const own = (name: string): Promise<string | undefined> =>
    isServer ? read(name) : read(name).catch(() => undefined);
  const cert = await own(`${endpoint}-cert.pem`);
  const key = await own(`${endpoint}-key.pem`);
  return {
    endpoint,
    directory: dir,
    ca: await read("ca-cert.pem"),
    cert,
    key,
    verifyPeer: options["verify-peer"] ?? true,
  };
}
