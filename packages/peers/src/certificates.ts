import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { run } from "./run.ts";

/**
 * Makes a certificate authority with a server `localhost` and a client, in the file names that QEMU and libnbd use. Needs
 * `openssl`.
 */
export async function makeCertificates(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const file = (name: string): string => path.join(directory, name);
  const openssl = (...args: readonly string[]): Promise<unknown> => run("openssl", args, { cwd: directory });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
  await openssl(
    "req",
    "-x509",
    ...key,
    ...ca,
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
    "-keyout",
    "ca-key.pem",
    "-out",
    "ca-cert.pem",
  );
  for (const [name, usage] of [
    ["server", "serverAuth"],
    ["client", "clientAuth"],
  ] as const) {
    writeFileSync(
      file(`${name}.ext`),
      `subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=${usage}\nkeyUsage=critical,digitalSignature\nbasicConstraints=critical,CA:FALSE\n`,
    );
    await openssl(
      "req",
      "-new",
      ...key,
      "-subj",
      `/CN=${name === "server" ? "localhost" : "client"}`,
      "-keyout",
      `${name}-key.pem`,
      "-out",
      `${name}.csr`,
    );
    await openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca-cert.pem",
      "-CAkey",
      "ca-key.pem",
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      `${name}.ext`,
      "-out",
      `${name}-cert.pem`,
    );
  }
}
