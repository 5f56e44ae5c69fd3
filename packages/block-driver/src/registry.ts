import { DRIVER_CONTRACT_VERSION, type BlockDriver, type RegisteredDriver } from "./contract/driver.ts";
import type { DeviceSpec } from "./contract/options.ts";
import { BlockError } from "./errors.ts";

/**
 * The drivers one graph knows, by name. An instance, never global: a program, a plugin and a test each have their own.
 */
export class DriverRegistry {
  readonly #drivers = new Map<string, RegisteredDriver>();

  /**
   * Adds a driver.
   * @throws TypeError when the name is taken or the driver was written for another contract version.
   * @returns this registry, for chaining.
   */
  register<Options, CreateOptions>(driver: BlockDriver<Options, CreateOptions>): this {
    if (driver.contractVersion !== DRIVER_CONTRACT_VERSION) {
      throw new TypeError(
        `driver '${driver.name}' is written for contract version ${driver.contractVersion}, this is version ${DRIVER_CONTRACT_VERSION}`,
      );
    }
    if (this.#drivers.has(driver.name))
      throw new TypeError(`a driver named '${driver.name}' is registered already`);
    this.#drivers.set(driver.name, seal(driver));
    return this;
  }

  /**
   * The driver of that name.
   * @throws BlockError `EINVAL` listing the names that exist.
   */
  get(name: string): RegisteredDriver {
    const driver = this.#drivers.get(name);
    if (driver === undefined) {
      throw new BlockError("EINVAL", `unknown driver '${name}'; there are ${this.names().join(", ")}`);
    }
    return driver;
  }

  has(name: string): boolean {
    return this.#drivers.has(name);
  }

  /** The names in order of registration. */
  names(): readonly string[] {
    return [...this.#drivers.keys()];
  }
}

function seal<Options, CreateOptions>(driver: BlockDriver<Options, CreateOptions>): RegisteredDriver {
  const { createOptions } = driver;
  const create = driver.create?.bind(driver);
  return {
    name: driver.name,
    kind: driver.kind,
    options: driver.options,
    open: (spec, context) =>
      driver.open(
        driver.options.parse(driverOptions(spec), `node '${context.nodeName}' (${driver.name})`),
        context,
      ),
    ...(createOptions !== undefined && { createOptions }),
    ...(create !== undefined &&
      createOptions !== undefined && {
        create: (input, context) => create(createOptions.parse(input, `create (${driver.name})`), context),
      }),
    ...(driver.inspect !== undefined && { inspect: driver.inspect.bind(driver) }),
    ...(driver.probe !== undefined && { probe: driver.probe.bind(driver) }),
  };
}

/** The options that belong to the driver, without those that belong to the node. */
function driverOptions(spec: DeviceSpec): Readonly<Record<string, unknown>> {
  const {
    driver: _driver,
    nodeName: _nodeName,
    readOnly: _readOnly,
    detectZeroes: _detectZeroes,
    ...options
  } = spec;
  return options;
}
