import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "@blockmirror/block-driver";
import { NBD_OPTIONS, type NbdOptions } from "./nbd-options.ts";
import { SYSTEM_TIMERS, type NbdTimers } from "./timers.ts";

/** How {@link createNbdDriver} differs from the driver that everybody uses. */
export interface NbdDriverInit {
  /** The clock of timeouts and reconnection; for tests. */
  readonly timers?: NbdTimers;
}

/**
 * Makes an `nbd` driver: a device is an export of a server that speaks the Network Block Device protocol, such as
 * qemu-nbd, nbdkit, a QEMU or another Blockmirror.
 *
 * Limitations: an export is made and resized by its server, so there is no `create` and no `resize`. A server that hangs
 * without hanging up can still do, later, what it was sent before a timeout.
 */
export function createNbdDriver(init: NbdDriverInit = {}): BlockDriver<NbdOptions> {
  const timers = init.timers ?? SYSTEM_TIMERS;
  return {
    name: "nbd",
    kind: "protocol",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options: NBD_OPTIONS,
    // The client is loaded by the first device, so that a program which only might meet a server does not wait for it.
    async open(options, context) {
      const { openDevice } = await import("./open-device.ts");
      return openDevice(options, context, timers);
    },
  };
}

/** The `nbd` driver; see {@link createNbdDriver}. */
export const nbdDriver: BlockDriver<NbdOptions> = createNbdDriver();
