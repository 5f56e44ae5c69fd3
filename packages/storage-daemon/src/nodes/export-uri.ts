import { isJsonObject, type JsonObject } from "@blockmirror/qmp";

/**
 * The URI of what an `nbd` node reaches, spelled as QEMU does in its answers, but with names encoded. Undefined where a URI does not
 * tell it all: with TLS, the credentials are missing.
 */
export function exportUri(options: JsonObject): string | undefined {
  const { server, export: name = "", "tls-creds": credentials } = options;
  if (!isJsonObject(server) || typeof name !== "string" || credentials !== undefined) return undefined;
  const { path, host, port } = server;
  const suffix = name === "" ? "" : `/${encoded(name)}`;
  if (typeof path === "string") return `nbd+unix://${suffix}?socket=${encoded(path)}`;
  if (typeof host !== "string" || typeof port !== "string") return undefined;
  return `nbd://${host.includes(":") ? `[${host}]` : host}:${port}${suffix}`;
}

function encoded(name: string): string {
  return encodeURIComponent(name).replaceAll("%2F", "/");
}
