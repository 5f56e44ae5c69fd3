/**
 * What a parent can do to a node: `read` data it relies on to be stable in meaning, `write` data, `write-unchanged`
 * (write the bytes that are there already, as a commit into a backing file does), or `resize`.
 */
export type Permission = "read" | "write" | "write-unchanged" | "resize";
