// Writes the pictures of docs/images: the dashboard on Redis, with made-up figures of a week.
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";

import { DESKTOP, PHONE, launch, open } from "./browser.js";
import { seed } from "./seed.js";
import { eventually, fill, startServer } from "./server.js";

const images = resolve(import.meta.dirname, "../../docs/images");

const PICTURES = [
  { name: "overview-light", path: "/", colorScheme: "light" },
  { name: "overview-dark", path: "/", colorScheme: "dark" },
  { name: "overview-phone", path: "/", viewport: PHONE },
  { name: "namespace", path: "/namespaces/user" },
  { name: "keys", path: "/keys?namespace=user&glob=47*" },
  { name: "entry", path: "/entry?namespace=user&key=4711%3Aprofile" },
  { name: "invalidations", path: "/invalidations" },
  { name: "confirmation", path: "/keys?namespace=user&glob=47*", dialog: "Invalidate all that match" },
  { name: "origins", path: "/origins" },
  { name: "replicas", path: "/replicas" },
  { name: "analysis", path: "/analysis" },
  { name: "audit", path: "/audit" },
];

const only = process.env.ONLY?.split(",");
const [server, browser] = await Promise.all([startServer("redis", { seed }), launch()]);
try {
  mkdirSync(images, { recursive: true });
  await fill(server);
  server.origin.fails = true;
  const keys = Array.from({ length: 20 }, (_, index) => server.cache.fetch("points", `x${index}`));
  await Promise.allSettled(keys);
  for (const { name, path, dialog, colorScheme, viewport } of PICTURES) {
    if (only && !only.includes(name)) continue;
    const { context, page } = await open(browser, {
      colorScheme: colorScheme ?? "light",
      viewport: viewport ?? DESKTOP,
    });
    await page.goto(server.url + path);
    if (dialog) {
      await page.getByRole("link", { name: dialog }).click();
      await page.getByRole("dialog").waitFor();
    }
    const live = page.locator("[data-live]");
    if (await live.count()) await eventually("live", async () => (await live.innerText()) === "live");
    await page.screenshot({ path: `${images}/${name}.png`, fullPage: !dialog });
    await context.close();
  }
} finally {
  await browser.close();
  await server.stop();
}
