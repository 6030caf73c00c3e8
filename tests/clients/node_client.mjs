import { answer } from "./read.mjs";

let request = "";
for await (const part of process.stdin) request += part;
process.stdout.write(JSON.stringify(await answer(JSON.parse(request))));
