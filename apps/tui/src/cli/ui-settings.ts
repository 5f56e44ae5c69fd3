import { prefersAscii } from "../terminal/charset.ts";
import { wantsColor } from "../terminal/color-policy.ts";
import type { UiOptions } from "../ui/ui-options.ts";
import type { DisplayOptions } from "./display.ts";
import type { OwnKeys } from "./own-keys.ts";

/** The display options of the command line as the terminal UI takes them. */
export function uiSettings(display: DisplayOptions, keys: OwnKeys): UiOptions {
  const { color, theme, ascii, readOnly, intervalMs } = display;
  return {
    ...(theme !== undefined && { theme }),
    color: wantsColor(color ?? "auto", { env: process.env, isTTY: process.stdout.isTTY }),
    ascii: ascii ?? prefersAscii({ env: process.env, platform: process.platform }),
    readOnly: readOnly ?? false,
    tickMs: intervalMs,
    keys: keys.overrides,
    keyFile: keys.path,
  };
}
