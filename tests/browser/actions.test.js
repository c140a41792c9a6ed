// Actions: by the dialog, by the keyboard alone, and without scripts.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { accessibilityFaults, launch, open } from "./browser.js";
import { STORES, TOKEN, eventually, startServer } from "./server.js";

const digest = () => `sha256:${createHash("sha256").update(TOKEN).digest("hex")}`;

for (const store of STORES) {
  describe(store, () => {
    let server, browser;
    before(async () => {
      [server, browser] = await Promise.all([startServer(store), launch()]);
    });
    after(async () => {
      await browser?.close();
      await server?.stop();
    });

    const isThere = async (namespace, key) => {
      const { outcome } = await server.cache.get(namespace, key);
      return outcome !== "OUTCOME_MISS";
    };

    /** The form with a heading, on the page of the actions. */
    const form = (page, heading) =>
      page.locator("section", { has: page.getByRole("heading", { name: heading, exact: true }) });

    async function confirm(page, verb) {
      const dialog = page.getByRole("dialog");
      await dialog.waitFor();
      await dialog.getByRole("button", { name: verb }).click();
      await page.waitForURL(/\/jobs\//);
      await page.getByText("done", { exact: true }).waitFor();
    }

    test("an entry is found, looked at and deleted", async () => {
      await server.cache.set("user", "1:profile", { a: 1 });
      const { context, page, faults } = await open(browser);
      await page.goto(server.url);
      await page.getByRole("link", { name: "Keys", exact: true }).click();
      await page.getByLabel("Namespace").fill("user");
      await page.getByLabel("Glob").fill("1:*");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByRole("link", { name: "1:profile" }).click();
      await page.getByText("Fresh: a read returns it").waitFor();
      await page.getByRole("link", { name: "Delete" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("Delete 1:profile of user").waitFor();
      await dialog.getByRole("link", { name: "Cancel" }).click();
      assert.ok(await isThere("user", "1:profile"));
      await page.getByRole("link", { name: "Delete" }).click();
      await confirm(page, "Delete");
      assert.deepEqual(await accessibilityFaults(page), []);
      assert.ok(!(await isThere("user", "1:profile")));
      assert.deepEqual(faults, []);
      await context.close();
    });

    for (const [heading, fields, verb] of [
      ["By key", { Namespace: "user", Key: "2:profile" }, "Invalidate"],
      ["By tag", { Namespace: "user", "Tags, one in each line": "user:2" }, "Invalidate"],
      ["By glob", { Namespace: "user", Glob: "2:*" }, "Invalidate"],
      ["A whole namespace", { Namespace: "user" }, "Invalidate"],
      ["By event", { Name: "user_changed", "Attributes, one name=value in each line": "id=2" }, "Publish"],
    ]) {
      test(`invalidation: ${heading}`, async () => {
        await server.cache.set("user", "2:profile", { a: 1 }, ["user:2"]);
        const { context, page, faults } = await open(browser);
        await page.goto(`${server.url}/invalidations`);
        const own = form(page, heading);
        for (const [label, value] of Object.entries(fields)) {
          await own.getByLabel(label, { exact: true }).fill(value);
        }
        await own.getByRole("button", { name: "Preview" }).click();
        await confirm(page, verb);
        assert.ok(!(await isThere("user", "2:profile")));
        assert.deepEqual(faults, []);
        await context.close();
      });
    }

    test("warming shows its progress, and the near cache is flushed", async () => {
      const { context, page, faults } = await open(browser);
      await page.goto(`${server.url}/namespaces/points`);
      await page.getByRole("link", { name: "Warm" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Warm" }).click();
      await page.waitForURL(/\/jobs\//);
      await page.getByText("done", { exact: true }).waitFor();
      assert.ok(await isThere("points", "3"));
      await page.goto(`${server.url}/invalidations`);
      await form(page, "Flush the near cache").getByRole("button", { name: "Preview" }).click();
      await confirm(page, "Flush");
      assert.deepEqual(faults, []);
      await context.close();
    });

    test("a key with a line end is deleted, and no other", async () => {
      const keys = ["a\nb", "a\r\nb", "a\rb", "a\0b"];
      for (const javaScriptEnabled of [true, false]) {
        for (const deleted of keys) {
          for (const key of keys) await server.cache.set("user", key, { a: 1 });
          const { context, page, faults } = await open(browser, { javaScriptEnabled });
          const address = new URLSearchParams({ namespace: "user", key: deleted });
          await page.goto(`${server.url}/entry?${address}`);
          await page.getByRole("link", { name: "Delete" }).click();
          await page.getByRole("button", { name: "Delete" }).click();
          await page.getByText("removed", { exact: true }).waitFor();
          for (const key of keys) assert.equal(await isThere("user", key), key !== deleted);
          assert.deepEqual(faults, []);
          await context.close();
        }
      }
    });

    test("a mistake is shown in the dialog", async () => {
      const { context, page } = await open(browser, { bypassCSP: true });
      await page.goto(`${server.url}/invalidations`);
      const own = form(page, "By glob");
      await own.getByLabel("Namespace").fill("user");
      await own.getByLabel("Glob").fill("[a");
      await own.getByRole("button", { name: "Preview" }).click();
      await page.getByRole("dialog").getByText(/glob/).first().waitFor();
      assert.deepEqual(await accessibilityFaults(page), []);
      await page.getByRole("button", { name: "Close" }).click();
      assert.equal(await page.getByRole("dialog").count(), 0);
      await context.close();
    });

    test("the keyboard alone is enough", async () => {
      await server.cache.set("user", "5:profile", { a: 1 });
      const { context, page } = await open(browser);
      await page.goto(`${server.url}/invalidations`);
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
      await page.keyboard.press("Enter");
      await page.keyboard.press("Tab");
      await page.keyboard.type("user");
      await page.keyboard.press("Tab");
      await page.keyboard.type("5:profile");
      await page.keyboard.press("Enter");
      await page.getByRole("dialog").waitFor();
      const focused = () => page.evaluate(() => document.activeElement.textContent);
      await eventually("the dialog has the focus", async () => (await focused()) === "Cancel");
      await page.keyboard.press("Escape");
      await eventually("the dialog closes", async () => (await page.getByRole("dialog").count()) === 0);
      assert.ok(await isThere("user", "5:profile"));
      await page.keyboard.press("Enter");
      await eventually("the dialog has the focus", async () => (await focused()) === "Cancel");
      await page.keyboard.press("Tab");
      assert.equal(await focused(), "Invalidate");
      await page.keyboard.press("Enter");
      await page.getByText("done", { exact: true }).waitFor();
      assert.ok(!(await isThere("user", "5:profile")));
      await context.close();
    });

    test("everything works without scripts", async () => {
      await server.cache.set("user", "6:profile", { a: 1 });
      const { context, page } = await open(browser, { javaScriptEnabled: false });
      await page.goto(`${server.url}/invalidations`);
      const own = form(page, "By key");
      await own.getByLabel("Namespace").fill("user");
      await own.getByLabel("Key", { exact: true }).fill("6:profile");
      await own.getByRole("button", { name: "Preview" }).click();
      await page.getByRole("button", { name: "Invalidate" }).click();
      await page.getByText("done", { exact: true }).waitFor();
      assert.ok(!(await isThere("user", "6:profile")));
      await page.getByRole("link", { name: "Audit" }).click();
      await page.getByText("user 6:profile").first().waitFor();
      await context.close();
    });
  });
}

test("tabs are led to the login after a restart", async () => {
  const admin = `token = "${digest()}"`;
  const [server, browser] = await Promise.all([startServer("memory", { admin }), launch()]);
  try {
    const { page } = await open(browser);
    await page.goto(server.url);
    await page.getByLabel("Token of the admin port").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.getByText("live", { exact: true }).waitFor();
    await server.restart();
    await page.getByLabel("Token of the admin port").waitFor();
    const refused = server.audit().filter(({ event }) => event === "refused");
    assert.deepEqual(refused, []);
  } finally {
    await browser.close();
    await server.stop();
  }
});

test("a principal logs in from a page that is read only, and the audit log names it", async () => {
  const admin = `
[auth]
anonymous = ["all"]
[auth.principals.alice]
tokens = ["${digest()}"]
roles = ["operator"]
[auth.roles.all]
allow = [{ verbs = ["*"], namespaces = ["*"] }]
[auth.roles.operator]
allow = [{ verbs = ["admin"], namespaces = ["*"] }]`;
  const [server, browser] = await Promise.all([startServer("memory", { admin }), launch()]);
  try {
    await server.cache.set("user", "7:profile", { a: 1 });
    const { page, faults } = await open(browser);
    await page.goto(server.url);
    await page.getByText("Read only, and without keys").waitFor();
    assert.deepEqual(await accessibilityFaults(page), []);
    await page.getByRole("link", { name: "Log in" }).click();
    await page.getByLabel("Token of a principal").waitFor();
    assert.deepEqual(await accessibilityFaults(page), []);
    await page.getByLabel("Token of a principal").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.getByText("live", { exact: true }).waitFor();
    await page.goto(`${server.url}/namespaces/user`);
    await page.getByRole("link", { name: "Invalidate all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Invalidate" }).click();
    await page.getByText("done", { exact: true }).waitFor();
    const done = await eventually("the record is written", () =>
      server.audit().find(({ event }) => event === "invalidate"),
    );
    assert.deepEqual([done.principal, done.identity], ["alice", "session"]);
    await page.goto(server.url);
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token of a principal").waitFor();
    await page.goto(server.url);
    await page.getByText("Read only, and without keys").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    await server.stop();
  }
});

test("a person logs in, acts and logs out", async () => {
  const [server, browser] = await Promise.all([startServer("memory", { admin: `token = "${digest()}"` }), launch()]);
  try {
    await server.cache.set("user", "7:profile", { a: 1 });
    const { page, faults } = await open(browser);
    await page.goto(`${server.url}/namespaces/user`);
    await page.getByLabel("Token of the admin port").fill(TOKEN);
    await page.keyboard.press("Enter");
    await page.getByText("live", { exact: true }).waitFor();
    await page.goto(`${server.url}/namespaces/user`);
    await page.getByRole("link", { name: "Invalidate all" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Invalidate" }).click();
    await page.getByText("done", { exact: true }).waitFor();
    await page.goto(server.url);
    await page.getByText("live", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Token of the admin port").waitFor();
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    await server.stop();
  }
});
