import type { BlockJobEventData, JobEvent } from "../job-source/job-source.ts";
import { isToldStatus } from "../job-source/job-status.ts";
import { asObject, numberOf, textOf, type Json } from "./peer-answers.ts";
import type { PeerEvent } from "./qmp-peer.ts";

/** A peer's event as a job event; undefined for events about something else, and for malformed ones. */
export function toJobEvent({ event, data, timestamp }: PeerEvent): JobEvent | undefined {
  const body = asObject(data);
  if (body === undefined) return undefined;
  switch (event) {
    case "JOB_STATUS_CHANGE": {
      const id = textOf(body, "id");
      const status = textOf(body, "status");
      if (id === undefined || status === undefined || !isToldStatus(status)) return undefined;
      return { event, data: { id, status }, timestamp };
    }
    case "BLOCK_JOB_READY":
    case "BLOCK_JOB_COMPLETED":
    case "BLOCK_JOB_CANCELLED": {
      const progress = readProgress(body);
      return progress === undefined ? undefined : { event, data: progress, timestamp };
    }
    case "BLOCK_JOB_ERROR": {
      const device = textOf(body, "device");
      if (device === undefined) return undefined;
      const operation = textOf(body, "operation") === "write" ? "write" : "read";
      return { event, data: { device, operation, action: actionOf(textOf(body, "action")) }, timestamp };
    }
    case "BLOCK_JOB_PENDING": {
      const id = textOf(body, "id");
      if (id === undefined) return undefined;
      return { event, data: { type: textOf(body, "type") ?? "job", id }, timestamp };
    }
    default:
      return undefined;
  }
}

/** The job that an event is about. */
export function jobOf(event: JobEvent): string {
  return "id" in event.data ? event.data.id : event.data.device;
}

function readProgress(body: Json): BlockJobEventData | undefined {
  const device = textOf(body, "device");
  if (device === undefined) return undefined;
  return {
    type: textOf(body, "type") ?? "job",
    device,
    len: numberOf(body, "len") ?? 0,
    offset: numberOf(body, "offset") ?? 0,
    speed: numberOf(body, "speed") ?? 0,
    ...(textOf(body, "error") !== undefined && { error: textOf(body, "error") }),
  };
}

function actionOf(word: string | undefined): "report" | "ignore" | "stop" {
  return word === "ignore" || word === "stop" ? word : "report";
}
