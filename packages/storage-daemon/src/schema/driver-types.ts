import type { DriverRegistry, OptionField, RegisteredDriver } from "@blockmirror/block-driver";
import type { Members, TypeDefinition, TypeRef, UnionDefinition } from "@blockmirror/qmp";
import { BLOCK_SCHEMA } from "@blockmirror/qmp";

/** Under which name of ours the driver of a QAPI name is registered, where the two differ. */
const REGISTERED_NAMES: Readonly<Record<string, string>> = {
  host_device: "file",
  "null-aio": "null-co",
};

/** The registry's name of a driver that QMP calls `driver`. */
export function registeredName(driver: string): string {
  return REGISTERED_NAMES[driver] ?? driver;
}

/** Whether QMP has a type of its own for the options of this driver. */
export function isStandardDriver(driver: string): boolean {
  return Object.hasOwn(BLOCK_SCHEMA.types.BlockdevOptions.union, driver);
}

/**
 * The types that depend on what there is: what `blockdev-add`, `blockdev-create` and `object-add` take. Standard drivers that
 * are not registered are left out, so that introspection tells the truth; custom drivers come in with their own options.
 */
export function driverTypes(registry: DriverRegistry): Readonly<Record<string, TypeDefinition>> {
  const types: Record<string, TypeDefinition> = {};
  const union: Record<string, string> = {};
  for (const [driver, options] of Object.entries(BLOCK_SCHEMA.types.BlockdevOptions.union)) {
    if (registry.has(registeredName(driver))) union[driver] = options;
  }
  for (const name of registry.names()) {
    if (isStandardDriver(name)) continue;
    union[name] = `BlockdevOptions-${name}`;
    types[`BlockdevOptions-${name}`] = { struct: customMembers(registry.get(name), types) };
  }
  const createUnion: Record<string, string> = {};
  for (const [driver, options] of Object.entries(BLOCK_SCHEMA.types.BlockdevCreateOptions.union)) {
    const name = registeredName(driver);
    if (registry.has(name) && registry.get(name).create !== undefined) createUnion[driver] = options;
  }
  const options: UnionDefinition = { ...BLOCK_SCHEMA.types.BlockdevOptions, union };
  const createOptions: UnionDefinition = { ...BLOCK_SCHEMA.types.BlockdevCreateOptions, union: createUnion };
  const { base, tag, union: objects } = BLOCK_SCHEMA.types.ObjectOptions;
  const objectTypes = {
    secret: objects.secret,
    "throttle-group": objects["throttle-group"],
    "tls-creds-psk": objects["tls-creds-psk"],
    "tls-creds-x509": objects["tls-creds-x509"],
  };
  return {
    ...types,
    ObjectOptions: { base, tag, union: objectTypes },
    BlockdevOptions: options,
    BlockdevCreateOptions: createOptions,
    BlockdevDriver: { enum: Object.keys(union) },
  };
}

/** A custom driver's options as members; what they mean is checked by the driver itself. */
function customMembers(driver: RegisteredDriver, types: Record<string, TypeDefinition>): Members {
  const members: Record<string, TypeRef> = {};
  for (const [name, field] of Object.entries(driver.options.fields)) {
    members[field.required ? name : `${name}?`] = fieldType(driver.name, name, field, types);
  }
  return members;
}

function fieldType(
  driver: string,
  name: string,
  field: OptionField<unknown>,
  types: Record<string, TypeDefinition>,
): TypeRef {
  switch (field.type) {
    case "string":
      return "str";
    case "bytes":
      return "size";
    case "integer":
      return "int";
    case "boolean":
      return "bool";
    case "child":
      return field.required ? "BlockdevRef" : "BlockdevRefOrNull";
    case "choice": {
      const type = `BlockdevOptions-${driver}-${name}`;
      types[type] = { enum: field.choices ?? [] };
      return type;
    }
    case "json":
      return "any";
  }
}
