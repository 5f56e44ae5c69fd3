import type { HBitmap } from "@blockmirror/hbitmap";

/** A dirty bitmap as an image stores it. */
export interface StoredBitmap {
  readonly name: string;
  /** Bytes per bit. */
  readonly granularity: number;
  /** It follows every write while the image is open for writing. */
  readonly recording: boolean;
  /** It was in use when the image was last closed out of order: what is stored is not to be trusted. */
  readonly inconsistent: boolean;
}

/** A bitmap in memory that an image keeps: its owner goes on marking it, the image stores it when it is closed. */
export interface KeptBitmap {
  /** Only named bitmaps can be kept. */
  readonly name: string | undefined;
  /** Bytes per bit. */
  readonly granularity: number;
  /** It follows writes; stored as {@link StoredBitmap.recording}. */
  readonly enabled: boolean;
  /** One bit for each `granularity` bytes of the device. */
  readonly bits: HBitmap;
}

/** The dirty bitmaps that a device keeps from one opening to the next. */
export interface BitmapStore {
  /**
   * Nothing can be kept in it: the bitmaps are somebody else's, who goes on with them, and are there to be loaded. They are not
   * attached when the device is opened, and `keep` is refused.
   */
  readonly isReadOnly?: boolean;

  /** Those stored in the image, without those that were dropped since. */
  list(): readonly StoredBitmap[];

  /**
   * Reads a stored bitmap into `into`, which has the size of the device and the bitmap's granularity.
   * @throws BlockError `ENOENT` without one of that name, `BLK_CORRUPT` when it is inconsistent or not readable.
   */
  load(name: string, into: HBitmap): Promise<void>;

  /**
   * Keeps a bitmap from now on, in place of a stored one of its name. It is stored when the device is closed; before the
   * first write what is stored is marked as in use, so that a crash leaves nothing stale behind.
   * @throws BlockError `EROFS` on a read-only device, `EINVAL` without a name or beyond a limit, `ENOTSUP` when the image
   * cannot hold bitmaps.
   */
  keep(bitmap: KeptBitmap): void;

  /** Forgets a bitmap, kept or stored; it is gone from the image when the device is closed. No effect without one. */
  drop(name: string): void;
}
