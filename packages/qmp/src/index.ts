/**
 * The QEMU Machine Protocol on the wire, both ends: a typed client of any QMP server, and the server's side of a
 * connection that runs the commands of a table. One schema gives the TypeScript types, checks the arguments and answers
 * introspection.
 *
 * @packageDocumentation
 */
export { formatQmpAddress, parseQmpAddress, type QmpAddress } from "./client/address.ts";
export { BackOff, type BackOffOptions } from "./client/back-off.ts";
export { QmpClient, type QmpConnectOptions, type QmpExecuteOptions } from "./client/client.ts";
export { QmpLink, type QmpLinkOptions, type QmpLinkState } from "./client/link.ts";
export {
  commandError,
  QmpError,
  type QmpErrorClass,
  type QmpErrorCode,
  type QmpErrorDetails,
} from "./errors.ts";
export { JsonReader, type JsonRead, type JsonReaderOptions } from "./json/reader.ts";
export { stringify } from "./json/stringify.ts";
export { isJsonObject, type JsonArray, type JsonObject, type JsonValue } from "./json/value.ts";
export {
  nowTimestamp,
  toQmpTimestamp,
  type QmpAnyEvent,
  type QmpEventOf,
  type QmpGreeting,
  type QmpTimestamp,
  type QmpVersion,
} from "./message.ts";
export {
  BLOCK_SCHEMA,
  type BlockCommands,
  type BlockEvents,
  type BlockSchema,
  type BlockType,
  type BlockTypes,
} from "./schema/block-schema.ts";
export type { Builtins, QmpInteger } from "./schema/builtins.ts";
export { memberName, structMembers } from "./schema/definition.ts";
export type {
  AlternateDefinition,
  CommandDefinition,
  EnumDefinition,
  EventDefinition,
  Members,
  QmpSchema,
  StructDefinition,
  TypeDefinition,
  TypeName,
  TypeRef,
  UnionDefinition,
} from "./schema/definition.ts";
export { introspect } from "./schema/introspect.ts";
export type { CommandMap, CommandShape, CommandsOf, EventsOf, MembersOf, TypeOf } from "./schema/type-of.ts";
export { validateArguments } from "./schema/validate.ts";
export {
  CommandTable,
  type CommandContext,
  type CommandHandler,
  type CommandHandlers,
} from "./server/command-table.ts";
export { QmpServerConnection, type QmpServerOptions } from "./server/connection.ts";
