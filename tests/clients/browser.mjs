// Opens a page in headless Chromium, does what the request says, and tells what the page said meanwhile.
//   {executable, switches, profile, url, steps: [{evaluate} | {wait} | {click} | {screenshot}]}
// `evaluate` and `wait` are functions in the page's language, called with `argument`.
import { chromium } from "playwright-core";

let text = "";
for await (const part of process.stdin) text += part;
const request = JSON.parse(text);

const browser = await chromium.launchPersistentContext(request.profile, {
  executablePath: request.executable,
  headless: true,
  viewport: { width: 1280, height: 900 },
  args: request.switches,
});
const said = { console: [], failed: [], answers: [] };
try {
  said.version = browser.browser()?.version();
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(60_000);
  page.on("console", (message) => said.console.push({ type: message.type(), text: message.text() }));
  page.on("pageerror", (error) => said.console.push({ type: "error", text: String(error) }));
  page.on("requestfailed", (r) => said.failed.push(`${r.method()} ${r.url()} ${r.failure()?.errorText}`));
  page.on("response", (r) => {
    if (r.status() >= 400) said.failed.push(`${r.request().method()} ${r.url()} ${r.status()}`);
  });
  await page.goto(request.url);
  for (const step of request.steps) {
    if (step.wait) await page.waitForFunction(`(${step.wait})(${JSON.stringify(step.argument)})`);
    if (step.evaluate) {
      said.answers.push(await page.evaluate(`(${step.evaluate})(${JSON.stringify(step.argument)})`));
    }
    if (step.click) await page.click(step.click);
    if (step.screenshot) await page.screenshot({ path: step.screenshot });
  }
  said.url = page.url();
} catch (error) {
  said.error = String(error);
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(said));
