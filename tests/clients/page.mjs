import { answer } from "./read.mjs";

globalThis.answer = answer;
