// Live figures: they change, and nothing else does.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { DESKTOP, PHONE, launch, open, watchShifts } from "./browser.js";
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
        const saved = page.locator("section", { hasText: "Computations saved" }).locator(".value").first();
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

for (const { path, figure, focus } of [
  {
    path: "/namespaces/user",
    figure: (page) => page.locator(".figures b").nth(1),
    focus: (page) => page.getByRole("link", { name: "Invalidate all" }),
  },
  {
    path: "/hot-keys?namespace=user&minutes=60",
    figure: (page) => page.getByText(/^Estimated from/),
    focus: (page) => page.getByRole("button", { name: "Share" }),
  },
]) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`${path} changes, and nothing moves, ${viewport.width}`, async () => {
      const [server, browser] = await Promise.all([startServer("memory"), launch()]);
      try {
        await fill(server, 8);
        const { page, faults } = await open(browser, { viewport });
        await page.goto(server.url + path);
        await page.getByText("live", { exact: true }).waitFor();
        await focus(page).focus();
        await watchShifts(page);
        const [before, parts] = [await figure(page).innerText(), await stillParts(page)];
        const focused = await page.evaluate(() => document.activeElement.textContent);
        await fill(server, 8);
        await eventually("the figure changes", async () => (await figure(page).innerText()) !== before, UPDATE_LIMIT_MS);
        assert.deepEqual(await page.evaluate(() => window.shifts), []);
        assert.equal(await page.evaluate(() => document.activeElement.textContent), focused);
        assert.deepEqual(await stillParts(page), parts);
        assert.deepEqual(faults, []);
      } finally {
        await browser.close();
        await server.stop();
      }
    });
  }
}

/** The texts of the parts that updates leave as they are. */
async function stillParts(page) {
  const texts = await page.locator("[data-still]").allInnerTexts();
  assert.ok(texts.some((text) => text.trim()), "there are such parts");
  return texts;
}

/** A live page of a server of its own. */
async function live(check) {
  const [server, browser] = await Promise.all([startServer("memory"), launch()]);
  try {
    await fill(server);
    const { page, faults } = await open(browser);
    await page.goto(server.url);
    await page.getByText("live", { exact: true }).waitFor();
    await check(page, server, browser);
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    await server.stop();
  }
}

test("the focus stays in its row when the order changes", () => live(async (page) => {
  const row = page.locator("table.namespaces").getByRole("link", { name: "statistics" });
  await row.focus();
  const [before, after] = await page.evaluate(async () => {
    const names = () => [...document.querySelectorAll("table.namespaces tbody tr")].map((row) => row.dataset.key);
    const before = names();
    const text = await (await fetch(location.href)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    const body = page.querySelector("table.namespaces tbody");
    body.replaceChildren(...names().reverse().map((key) => page.querySelector(`tr[data-key="${key}"]`)));
    showContent(page.querySelector("main").innerHTML);
    return [before, names()];
  });
  assert.deepEqual(after, before.toReversed());
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "statistics");
}));

test("the numbers of a chart are a table, which stays open", () => live(async (page) => {
  const chart = page.locator("section", { hasText: "Reads by outcome" }).first();
  await chart.getByText("Values").click();
  const row = chart.locator("details tbody tr").first();
  await row.waitFor();
  assert.equal(await row.locator("td").count(), 3);
  await page.evaluate(async () => {
    const text = await (await fetch(location.href)).text();
    const page = new DOMParser().parseFromString(text, "text/html");
    showContent(page.querySelector("main").innerHTML);
  });
  assert.ok(await row.isVisible());
}));

test("pages in the background have no stream", () => live(async (page, server, browser) => {
  const streams = async () => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return Number(/^larder_dashboard_streams (\d+)$/m.exec(metrics)[1]);
  };
  const hide = (isHidden) => page.evaluate((isHidden) => {
    Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
  assert.equal(await streams(), 1);
  await hide(true);
  await eventually("the stream ends", async () => (await streams()) === 0);
  await hide(false);
  await eventually("the page is live again", async () => (await streams()) === 1);
}));

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
