/** Version of the protocol surface; replaced as the package grows. */
export const PACKAGE: string = "storage-daemon";
