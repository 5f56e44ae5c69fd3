import type { VerbRefusal } from "@blockmirror/blockjob";

const NEEDS: Readonly<Record<VerbRefusal["verb"], string>> = {
  pause: "pause needs a live job",
  resume: "resume needs a paused job",
  "set-speed": "limit needs a live job",
  complete: "complete needs READY",
  cancel: "cancel needs a live job",
  finalize: "finalize needs PENDING",
  dismiss: "dismiss needs a concluded job",
  change: "change needs a live job",
};

/** Why a verb is refused, in the few words that fit beside a key. */
export function verbReason(refusal: VerbRefusal): string {
  switch (refusal.cause) {
    case "status":
      return NEEDS[refusal.verb];
    case "already-paused":
      return "job is already paused";
    case "not-paused":
      return "job is not paused";
    case "cancel-requested":
      return "job is being cancelled";
    case "not-supported":
      return `${refusal.verb} is not for this job type`;
    case "switching":
      return "users are being switched already";
  }
}
