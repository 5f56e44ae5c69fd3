/** The events of the block layer. */
export const BLOCK_EVENTS = {
  JOB_STATUS_CHANGE: { data: { id: "str", status: "JobStatus" } },
  BLOCK_JOB_READY: { data: { type: "JobType", device: "str", len: "int", offset: "int", speed: "int" } },
  BLOCK_JOB_COMPLETED: {
    data: { type: "JobType", device: "str", len: "int", offset: "int", speed: "int", "error?": "str" },
  },
  BLOCK_JOB_CANCELLED: { data: { type: "JobType", device: "str", len: "int", offset: "int", speed: "int" } },
  BLOCK_JOB_ERROR: { data: { device: "str", operation: "IoOperationType", action: "BlockErrorAction" } },
  BLOCK_JOB_PENDING: { data: { type: "JobType", id: "str" } },
  BLOCK_EXPORT_DELETED: { data: { id: "str" } },
  BLOCK_IO_ERROR: {
    data: {
      device: "str",
      "node-name?": "str",
      operation: "IoOperationType",
      action: "BlockErrorAction",
      "nospace?": "bool",
      reason: "str",
    },
  },
  BLOCK_IMAGE_CORRUPTED: {
    data: {
      device: "str",
      "node-name?": "str",
      msg: "str",
      "offset?": "int",
      "size?": "int",
      fatal: "bool",
    },
  },
  BLOCK_WRITE_THRESHOLD: {
    data: { "node-name": "str", "amount-exceeded": "uint64", "write-threshold": "uint64" },
  },
} as const;
