import {
  BlockError,
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  READ_ONLY_CAPABILITIES,
  type DeviceCapabilities,
  type DeviceInfo,
} from "@blockmirror/block-driver";
import { TransmissionFlag } from "../protocol/constants.ts";
import { canFlush, type NegotiatedExport } from "./negotiated.ts";
import { ALLOCATION } from "./status-contexts.ts";

/** The most that is asked for at once, whatever a server would take (NBD protocol: 32 MiB unless agreed otherwise). */
const MAX_TRANSFER = 32 * 1024 * 1024;
const MAX_ALLOCATION = 2 * 1024 * 1024;

/** What describes a device besides its export. */
export interface DescribeInit {
  readonly label: string;
  readonly identity: string;
  readonly exportName: string;
  readonly readOnly: boolean;
  readonly isSecure: boolean;
}

/**
 * What the block layer may expect of an export.
 * @throws BlockError `EROFS` when a read-only export was to be written, `EINVAL` for a size that its blocks do not divide.
 */
export function describeDevice(negotiated: NegotiatedExport, init: DescribeInit): DeviceInfo {
  const { label, readOnly } = init;
  const { size, minimumBlock, preferredBlock, maximumPayload } = negotiated;
  const context = { node: label, operation: "open" };
  if (!readOnly && (negotiated.flags & TransmissionFlag.ReadOnly) !== 0) {
    throw new BlockError("EROFS", `the export ${label} is read-only: open it with readOnly`, context);
  }
  if (size % minimumBlock !== 0) {
    throw new BlockError(
      "EINVAL",
      `the export ${label} has ${size} bytes, which its smallest block of ${minimumBlock} bytes does not divide: its end cannot be reached`,
      context,
    );
  }
  const most = Math.min(MAX_TRANSFER, maximumPayload);
  return {
    driver: "nbd",
    label,
    size,
    readOnly,
    identity: init.identity,
    align: {
      ...BYTE_ALIGNMENT,
      read: minimumBlock,
      write: minimumBlock,
      zero: minimumBlock,
      discard: minimumBlock,
      optimal: Math.max(BYTE_ALIGNMENT.optimal, Math.min(preferredBlock, MAX_ALLOCATION)),
    },
    max: { ...DEFAULT_LIMITS, transfer: most - (most % minimumBlock) },
    can: describeCapabilities(negotiated, readOnly),
    details: {
      export: init.exportName,
      tls: init.isSecure,
      replies: negotiated.form,
      minimumBlock,
      preferredBlock,
      maximumPayload,
      multiConnection: (negotiated.flags & TransmissionFlag.CanMultiConnection) !== 0,
    },
  };
}

function describeCapabilities(negotiated: NegotiatedExport, readOnly: boolean): DeviceCapabilities {
  const status = negotiated.contextIds[ALLOCATION] === undefined ? "none" : "exact";
  if (readOnly) return { ...READ_ONLY_CAPABILITIES, status, flush: canFlush(negotiated) };
  const has = (flag: number): boolean => (negotiated.flags & flag) !== 0;
  const zeroes = has(TransmissionFlag.SendWriteZeroes);
  return {
    ...READ_ONLY_CAPABILITIES,
    status,
    write: true,
    fua: has(TransmissionFlag.SendFua),
    flush: canFlush(negotiated),
    // Zeroing over the wire always beats sending zeroes; fast means that the server answers whether it beats writing them.
    writeZeroes: !zeroes ? "no" : has(TransmissionFlag.SendFastZero) ? "fast" : "slow",
    // The protocol has no word for it: a server that takes trims is one that gives space back.
    unmap: zeroes && has(TransmissionFlag.SendTrim),
    discard: has(TransmissionFlag.SendTrim) ? "hint" : "no",
  };
}
