import type { BlockNode } from "@blockmirror/block-driver";
import type { Job } from "@blockmirror/blockjob";
import type { Mirror, MirrorDetails } from "@blockmirror/mirror";
import type { MirrorRequest } from "./mirror-request.ts";

/** A job of the engine with the images it works on. */
export interface EngineJob {
  readonly mirror: Mirror;
  readonly job: Job<MirrorDetails>;
  readonly request: MirrorRequest;
  readonly source: BlockNode;
  readonly target: BlockNode;
}
