// Chromium, and what every page must be.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** Starts the browser without anything that it does on its own. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page that collects what goes wrong in it. `bypassCSP` only for axe, which adds a script. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  // A busy machine is slow.
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("requestfailed", (request) => {
    // A stream of events ends with its page.
    if (!request.url().includes("/live")) faults.push(`failed: ${request.url()}`);
  });
  return { context, page, faults };
}

/** The rules that a page breaks, with the elements that break them. */
export async function accessibilityFaults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

/** Whether the page is wider than the screen. */
export async function assertNoSidewaysScroll(page, path) {
  const [width, screen] = await page.evaluate(() => {
    const root = document.scrollingElement;
    return [root.scrollWidth, root.clientWidth];
  });
  assert.ok(width <= screen, `${path}: ${width} wide on a screen of ${screen}`);
}

/** Milliseconds from the begin of the navigation to the first paint of content. */
export function firstPaint(page) {
  return page.evaluate(() => new Promise((resolve) => {
    new PerformanceObserver((list) => {
      const [paint] = list.getEntriesByName("first-contentful-paint");
      if (paint) resolve(paint.startTime);
    }).observe({ type: "paint", buffered: true });
  }));
}

/** Counts the shifts of the layout from now on. */
export async function watchShifts(page) {
  await page.evaluate(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        // Rows have an order, and a number of another width begins elsewhere in its cell.
        const hasPlace = ({ node }) =>
          node?.isConnected && node.nodeType === Node.ELEMENT_NODE && !node.matches("tbody tr, .items li");
        const nodes = entry.sources.filter(hasPlace).map(({ node }) => node.outerHTML.slice(0, 120));
        if (nodes.length === 0) continue;
        window.shifts.push({ value: entry.value, nodes });
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
}
