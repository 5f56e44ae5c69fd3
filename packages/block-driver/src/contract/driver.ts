import type { BlockChild, BlockDevice, DeviceInfo } from "./device.ts";
import type { ChildReference, DeviceSpec, OptionSchema } from "./options.ts";
import type { Permission } from "./permissions.ts";

/** Version of the driver contract; a driver states the one it was written for and the registry compares. */
export const DRIVER_CONTRACT_VERSION = 1;

/**
 * What a child is to its parent: `file` holds an image's bytes, `data` the guest data kept outside the image, `backing`
 * answers for what the image does not hold, `filtered` is what a filter presents unchanged.
 */
export type ChildRole = "file" | "data" | "backing" | "filtered";

/**
 * Where a driver sits: a `protocol` reaches storage and has no children; a `format` interprets a `file` child; a
 * `filter` presents its `filtered` child's data unchanged.
 */
export type DriverKind = "protocol" | "format" | "filter";

/** A reference that was found inside an image: it says nothing about what the user wants to be opened. */
export interface ImplicitReference {
  /** The name exactly as the image records it. */
  readonly name: string;
  /** The recorded format, if any; never guessed. */
  readonly format?: string;
}

/** Something a device reports outside any request. */
export interface DeviceEvent {
  /** `corruption` is announced once per node; with `fatal` the node is fenced. */
  readonly type: "corruption" | "warning";
  /** One sentence for people. */
  readonly message: string;
  /** The node must not be used any more. */
  readonly fatal?: boolean;
  readonly offset?: number;
  readonly length?: number;
}

/** What a driver gets to open with. */
export interface OpenContext {
  /** Name of the node being opened, for messages. */
  readonly nodeName: string;
  /** The device must refuse every change. */
  readonly readOnly: boolean;
  /** Aborting it ends the opening. */
  readonly signal?: AbortSignal;
  /**
   * Opens or attaches a child that the *user* named. The graph owns it; a failed open releases it.
   *
   * `shares` narrows what a filter tolerates from others who use its child: without `write`, nobody writes past it. By
   * default it tolerates what its own parents do.
   */
  openChild(reference: ChildReference, role: ChildRole, shares?: readonly Permission[]): Promise<BlockChild>;
  /**
   * Opens a child that is named *inside* the image, if the caller's gate allows it. Backing nodes are read-only.
   * @throws BlockError `BLK_DENIED` when the gate refuses.
   */
  openImplicit(reference: ImplicitReference, role: ChildRole): Promise<BlockChild>;
  /** Reports an event; corruption with `fatal` fences the node. */
  report(event: DeviceEvent): void;
  /**
   * Counts what the device does without being asked as a request in flight, until the function that is returned is called:
   * whoever drains the node, or a child of it, waits for that. Devices whose requests settle with all that they caused do
   * without it.
   */
  beginWork(): () => void;
}

/** What a driver gets to create an image with. */
export interface CreateContext {
  readonly signal?: AbortSignal;
  /** Opens the child the image is written into, by a reference the user gave. Closed when `create` settles. */
  openChild(reference: ChildReference, role: ChildRole): Promise<BlockChild>;
}

/**
 * A driver: a plain object. `Options` is what its option schema parses to.
 *
 * A minimal one has six members: `name`, `kind`, `contractVersion`, `options`, `open`, and the device that `open`
 * returns needs four: `info`, `read`, `status`, `close`.
 */
export interface BlockDriver<Options, CreateOptions = never> {
  /** How specs name it, e.g. `qcow2`: lower case, unique in a registry. */
  readonly name: string;
  readonly kind: DriverKind;
  /** {@link DRIVER_CONTRACT_VERSION} of the contract the driver was written for. */
  readonly contractVersion: number;
  readonly options: OptionSchema<Options>;
  readonly createOptions?: OptionSchema<CreateOptions>;
  /** Opens a device. Changes nothing before every input is known to be good. */
  open(options: Options, context: OpenContext): Promise<BlockDevice>;
  /** Makes a new image. */
  create?(options: CreateOptions, context: CreateContext): Promise<void>;
  /** Reads an image's metadata without opening anything it names; safe on hostile input. */
  inspect?(file: BlockChild): Promise<DeviceInfo>;
  /** How sure the driver is that `head` (the first 4 KiB at most) is its format: 0 (no) to 100 (magic matches). */
  probe?(head: Uint8Array, size: number): number;
}

/** A driver with its option types sealed in: what a registry keeps. */
export interface RegisteredDriver {
  readonly name: string;
  readonly kind: DriverKind;
  readonly options: OptionSchema<unknown>;
  readonly createOptions?: OptionSchema<unknown>;
  /** Parses `spec` strictly, then opens. */
  open(spec: DeviceSpec, context: OpenContext): Promise<BlockDevice>;
  create?(options: Readonly<Record<string, unknown>>, context: CreateContext): Promise<void>;
  inspect?(file: BlockChild): Promise<DeviceInfo>;
  probe?(head: Uint8Array, size: number): number;
}
