// Writes the pictures of docs/images: the dashboard of the demo, which has run for some minutes.
// The history before that is made up.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { DESKTOP, PHONE, launch, open } from "./browser.js";
import { seed } from "./seed.js";
import { binary, eventually, freePort } from "./server.js";

const repository = resolve(import.meta.dirname, "../..");
const images = join(repository, "docs/images");
const START_LIMIT_MS = 120_000;
/** The analysis needs some minutes of reads. */
const RUN_MS = 240_000;
/** Pixels of a picture. */
const MAX_HEIGHT = 1600;

const PICTURES = [
  { name: "overview-light", path: "/" },
  { name: "overview-dark", path: "/", colorScheme: "dark" },
  { name: "overview-phone", path: "/", viewport: PHONE },
  { name: "namespaces", path: "/namespaces" },
  { name: "namespace", path: "/namespaces/users" },
  { name: "keys", path: "/keys?namespace=users&glob=1*" },
  { name: "entry", path: "/entry?namespace=users&key=0" },
  { name: "hot-keys", path: "/hot-keys?namespace=users&minutes=5" },
  { name: "confirmation", path: "/keys?namespace=users&glob=1*", dialog: "Invalidate all that match" },
  { name: "job", path: "/keys?namespace=pages&glob=*", dialog: "Invalidate all that match", confirm: true },
  { name: "invalidations", path: "/invalidations" },
  { name: "origins", path: "/origins" },
  { name: "replicas", path: "/replicas" },
  { name: "analysis", path: "/analysis" },
  { name: "audit", path: "/audit" },
];

/** Starts the demo. Its ports follow each other. */
async function startDemo() {
  const directory = mkdtempSync(join(tmpdir(), "larder-pictures-"));
  const [redis, admin] = [await freePort(), await freePort()];
  const args = ["--redis-port", redis, "--admin-port", admin].map(String);
  const env = {
    ...process.env,
    LARDER_BIN: binary,
    LARDER_DEMO_BIN: join(dirname(binary), "larder-demo"),
    LARDER_DEMO_DIR: join(directory, "demo"),
  };
  const stdio = ["ignore", "ignore", "inherit"];
  const child = spawn(join(repository, "scripts/demo.sh"), args, { env, stdio });
  const stop = async () => {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
    rmSync(directory, { recursive: true });
  };
  await eventually("the demo runs", async () => {
    if (child.exitCode !== null) throw new Error("the demo has ended");
    return fetch(`http://127.0.0.1:${admin + 2}/readyz`).then(({ ok }) => ok, () => false);
  }, START_LIMIT_MS).catch(async (error) => {
    await stop();
    throw error;
  });
  return { url: `http://127.0.0.1:${admin}`, redis, stop };
}

async function take(browser, url, { name, path, dialog, confirm, colorScheme = "light", viewport = DESKTOP }) {
  const { context, page } = await open(browser, { colorScheme, viewport });
  await page.goto(url + path);
  if (dialog) {
    await page.getByRole("link", { name: dialog }).click();
    await page.getByRole("dialog").waitFor();
  }
  if (confirm) {
    await page.getByRole("dialog").getByRole("button", { name: "Invalidate" }).click();
    await page.waitForURL("**/jobs/*");
    await page.getByText("done").first().waitFor();
  }
  const live = page.locator("[data-live]");
  if (await live.count()) await eventually("live", async () => (await live.innerText()) === "live");
  // The rest of a long list is more of the same.
  const height = await page.evaluate(() => document.scrollingElement.scrollHeight);
  const clip = { x: 0, y: 0, width: viewport.width, height: Math.min(height, MAX_HEIGHT) };
  const whole = { fullPage: true, ...(viewport === PHONE ? {} : { clip }) };
  const shown = !dialog || confirm ? whole : {};
  await page.screenshot({ path: `${images}/${name}.png`, ...shown });
  await context.close();
}

const only = process.env.ONLY?.split(",");
const [demo, browser] = await Promise.all([startDemo(), launch()]);
try {
  mkdirSync(images, { recursive: true });
  await new Promise((wake) => setTimeout(wake, RUN_MS));
  seed(demo.redis);
  for (const picture of PICTURES) {
    if (!only || only.includes(picture.name)) await take(browser, demo.url, picture);
  }
} finally {
  await browser.close();
  await demo.stop();
}
