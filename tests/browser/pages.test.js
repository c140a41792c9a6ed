// Every page: it works on both stores, axe finds nothing, and it fits on a phone.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  PHONE, accessibilityFaults, assertNoSidewaysScroll, firstPaint, launch, open, watchShifts,
} from "./browser.js";
import { STORES, fill, startServer } from "./server.js";

const PAGES = [
  "/",
  "/?span=24h",
  "/?span=7d",
  "/namespaces",
  "/namespaces?part=2",
  "/namespaces/user",
  "/namespaces/points?span=24h",
  "/keys",
  "/keys?namespace=user&glob=47*",
  "/entry?namespace=user&key=4711%3Aprofile",
  "/entry?namespace=user&key=missing",
  "/hot-keys?namespace=user",
  "/invalidations",
  "/confirm?action=glob&namespace=user&glob=47*",
  "/origins",
  "/replicas",
  "/analysis",
  "/audit",
  "/audit?before=2",
  "/keys?namespace=NOT+VALID",
];

for (const store of STORES) {
  describe(store, () => {
    let server, browser;
    before(async () => {
      [server, browser] = await Promise.all([startServer(store), launch()]);
      await fill(server, 2);
    });
    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    test("every page loads without a fault, and nothing moves", async () => {
      const { context, page, faults } = await open(browser);
      const paints = [];
      for (const path of PAGES) {
        const answer = await page.goto(server.url + path);
        assert.ok(answer.status() === 200 || path.includes("VALID"), `${path}: ${answer.status()}`);
        await watchShifts(page);
        paints.push(await firstPaint(page));
        assert.deepEqual(await page.evaluate(() => window.shifts), [], path);
      }
      const expected = faults.filter((fault) => !fault.includes("400 (Bad Request)"));
      assert.deepEqual(expected, []);
      paints.sort((one, other) => one - other);
      const median = paints[Math.floor(paints.length / 2)];
      console.log(`${store}: first paint ${median.toFixed(0)} ms (median), ${paints.at(-1).toFixed(0)} ms (slowest)`);
      await context.close();
    });

    // Markup and styles do not depend on the store.
    for (const colorScheme of store === STORES[0] ? [] : ["light", "dark"]) {
      test(`axe finds nothing, ${colorScheme}`, async () => {
        for (const viewport of [undefined, PHONE]) {
          const options = { colorScheme, bypassCSP: true, ...(viewport && { viewport }) };
          const { context, page } = await open(browser, options);
          for (const path of PAGES) {
            await page.goto(server.url + path);
            assert.deepEqual(await accessibilityFaults(page), [], `${path} ${viewport?.width ?? ""}`);
          }
          await context.close();
        }
      });
    }

    test("every page fits on a phone", async () => {
      const { context, page } = await open(browser, { viewport: PHONE });
      for (const path of PAGES) {
        await page.goto(server.url + path);
        await assertNoSidewaysScroll(page, path);
        assert.ok((await page.locator("main").innerText()).trim(), `${path} is empty`);
      }
      assert.match(await page.getByRole("alert").innerText(), /namespace/);
      await page.setViewportSize({ width: 320, height: 640 });
      for (const path of PAGES) {
        await page.goto(server.url + path);
        await assertNoSidewaysScroll(page, `${path} at 320`);
      }
      await context.close();
    });

    test("tables are sorted by their columns, with the keyboard too", async () => {
      const { context, page } = await open(browser);
      await page.goto(server.url);
      const names = () => page.locator("table.namespaces tbody th").allInnerTexts();
      await page.getByRole("button", { name: "Namespace" }).click();
      const sorted = (await names()).toSorted();
      assert.deepEqual(await names(), sorted);
      await page.keyboard.press("Enter");
      assert.deepEqual(await names(), sorted.toReversed());
      const head = page.locator("table.namespaces th[aria-sort]");
      assert.equal(await head.getAttribute("aria-sort"), "descending");
      await context.close();
    });
  });
}
