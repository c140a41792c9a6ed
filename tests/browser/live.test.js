// Live figures: they change, and nothing else does.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { PHONE, launch, open, watchShifts } from "./browser.js";
import { STORES, eventually, fill, startServer } from "./server.js";

const UPDATE_LIMIT_MS = 30_000;

for (const store of STORES) {
  describe(store, () => {
    let server, browser;
    before(async () => {
      [server, browser] = await Promise.all([startServer(store), launch()]);
      await fill(server);
    });
    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    for (const [name, viewport] of [["desktop", undefined], ["phone", PHONE]]) {
      test(`figures change, and nothing moves, ${name}`, async () => {
        const options = viewport ? { viewport } : {};
        const { context, page, faults } = await open(browser, options);
        await page.goto(server.url);
        await page.getByText("live", { exact: true }).waitFor();
        await watchShifts(page);
        const saved = page.locator("section", { hasText: "Fetches saved" }).locator(".value").first();
        const before = await saved.innerText();
        // The focus and the order of the table stay.
        await page.getByRole("button", { name: "Keys" }).or(page.getByRole("button", { name: "Hit rate" })).first().click();
        const sorted = page.locator("th[aria-sort]");
        const [order, focused] = await Promise.all([
          sorted.innerText(),
          page.evaluate(() => document.activeElement.textContent),
        ]);
        await fill(server, 3);
        await eventually("the figure changes", async () => (await saved.innerText()) !== before, UPDATE_LIMIT_MS);
        assert.deepEqual(await page.evaluate(() => window.shifts), []);
        assert.equal(await sorted.innerText(), order);
        assert.equal(await page.evaluate(() => document.activeElement.textContent), focused);
        assert.deepEqual(faults, []);
        await context.close();
      });
    }
  });
}

test("an origin that fails needs attention", async () => {
  const [server, browser] = await Promise.all([startServer("memory"), launch()]);
  try {
    const { page } = await open(browser);
    await page.goto(server.url);
    server.origin.fails = true;
    const fetches = Array.from({ length: 12 }, (_, index) => server.cache.fetch("points", `x${index}`));
    await Promise.allSettled(fetches);
    await page.getByText("the breaker of its origin is open").waitFor({ timeout: UPDATE_LIMIT_MS });
  } finally {
    await browser.close();
    await server.stop();
  }
});
