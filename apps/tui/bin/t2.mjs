process.env.UV_THREADPOOL_SIZE ??= "8";
import("../dist/main.js").then(({ main }) => main(process.argv.slice(2)))
