import { commandError } from "../errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/value.ts";

/** A request whose form is right; whether there is such a command is another question. */
export interface Request {
  readonly command: string;
  readonly arguments: JsonObject;
  readonly isOutOfBand: boolean;
}

/** The id of what may not even be a request, to be echoed in whatever is answered. */
export function requestId(message: JsonValue): { readonly id?: JsonValue } {
  return isJsonObject(message) && message["id"] !== undefined ? { id: message["id"] } : {};
}

/**
 * Checks the form of a request.
 *
 * @param isOobEnabled whether the client enabled out-of-band execution; without it `exec-oob` is an unknown member.
 * @throws QmpError of class `GenericError`, as QEMU's monitor does in each case.
 */
export function readRequest(message: JsonValue, isOobEnabled: boolean): Request {
  if (!isJsonObject(message)) throw commandError("QMP input must be a JSON object");
  let command: string | undefined;
  let isOutOfBand = false;
  for (const [name, value] of Object.entries(message)) {
    if (name === "id" || name === "arguments") continue;
    const isOobMember = name === "exec-oob" && isOobEnabled;
    if (name !== "execute" && !isOobMember) throw commandError(`QMP input member '${name}' is unexpected`);
    if (command !== undefined) throw commandError("QMP input has both 'execute' and 'exec-oob'");
    if (typeof value !== "string") throw commandError(`QMP input member '${name}' must be a string`);
    command = value;
    isOutOfBand = isOobMember;
  }
  if (command === undefined) throw commandError("QMP input lacks member 'execute'");
  const args = message["arguments"] === undefined ? {} : message["arguments"];
  if (!isJsonObject(args)) throw commandError("QMP input member 'arguments' must be an object");
  return { command, arguments: args, isOutOfBand };
}
