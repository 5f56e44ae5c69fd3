/** What a job does about an error, as its event tells, in words. */
export const ERROR_ACTIONS = {
  report: "the job ends",
  ignore: "ignored, it is tried again",
  stop: "the job pauses",
} as const;
