const TOKEN =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`|(?<=[=(,:[!&|?{;]\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[*])+\//gu;

const BEFORE_MODULE_NAME = /\b(?:from|import)\s*\(?\s*$/u;

const STATEMENT =
  /^[ \t]*(?:import|export)\b[\w\s*{},$]*?\bfrom\s*["'](?<from>[^"'\n]+)["']|^[ \t]*import\s*["'](?<bare>[^"'\n]+)["']|\bimport\s*\(\s*["'](?<called>[^"'\n]+)["']\s*[,)]/gmu;

/**
 * Blanks whatever can hold text that looks like code: comments, templates, regular expressions, and every string that
 * does not stand where a module is named. Each character keeps its place, so an offset still tells the line.
 *
 * @param {string} source
 * @returns {string}
 */
function blankAllButCode(source) {
  return source.replace(TOKEN, (text, /** @type {number} */ offset) => {
    const isString = text.startsWith('"') || text.startsWith("'");
    const isModuleName = isString && BEFORE_MODULE_NAME.test(source.slice(Math.max(0, offset - 40), offset));
    return isModuleName ? text : text.replace(/[^\n]/gu, " ");
  });
}

/**
 * The modules a source file names: in `import` and `export … from` statements, in `import()` calls and in
 * `import()` types. Type-only imports count, since a circle of types is a circle of ideas.
 *
 * @param {string} source
 * @returns {{ specifier: string, line: number }[]}
 */
export function findImports(source) {
  const code = blankAllButCode(source);
  return Array.from(code.matchAll(STATEMENT), (match) => {
    const { from, bare, called } = match.groups ?? {};
    const end = match.index + match[0].length;
    return { specifier: from ?? bare ?? called ?? "", line: code.slice(0, end).split("\n").length };
  });
}
