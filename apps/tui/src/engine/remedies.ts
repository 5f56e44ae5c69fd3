/** Where a request was made, so that what is wrong with it is put right there. */
export type AskedBy = "command line" | "form";

/** What to do about a problem of a request, to stand at the end of a sentence. */
export interface Remedies {
  /** The target is there already. */
  readonly overwrite: string;
  /** The target has to be there. */
  readonly update: string;
  /** The target is not there. */
  readonly create: string;
  /** The target is larger than the source. */
  readonly larger: string;
  /** The sync mode, up to its name. */
  readonly sync: string;
  /** The target has to be qcow2. */
  readonly qcow2: string;
  /** The target cannot be qcow2. */
  readonly raw: string;
  /** The target has to hold the source's content before. */
  readonly prepared: string;
}

/** In the words of what the user has before him. */
export const REMEDIES: Readonly<Record<AskedBy, Remedies>> = {
  "command line": {
    overwrite: "give --existing to overwrite it",
    update: "give --existing",
    create: "leave --existing out to have it created",
    larger: "give --larger-target",
    sync: "--sync",
    qcow2: "give --target-format qcow2",
    raw: "give --target-format raw",
    prepared: "with --existing name an image that holds the source's content already",
  },
  form: {
    overwrite: "set Existing to yes to overwrite it",
    update: "set Existing to yes",
    create: "set Existing to no to have it created",
    larger: "set Larger target to zero or leave",
    sync: "Sync",
    qcow2: "set Format to qcow2",
    raw: "set Format to raw",
    prepared: "set Existing to yes and name an image that holds the source's content already",
  },
};
