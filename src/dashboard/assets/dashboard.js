// Live figures, confirmations as dialogs, and sortable tables. Every page works without it.
"use strict";

// Sorting by a column, kept over updates of the page.

const sorting = new Map();

// Makes the heads of columns buttons, and applies the order that was chosen before.
function prepareTables(root) {
  [...root.querySelectorAll("table[data-sortable]")].forEach((table, index) => {
    for (const head of table.querySelectorAll("thead th[data-sort]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
    }
    sortTable(table, sorting.get(index));
  });
}

function sortTable(table, order) {
  if (!order) return;
  const heads = [...table.querySelectorAll("thead th")];
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[order.column]?.setAttribute("aria-sort", order.direction);
  const body = table.tBodies[0];
  const value = (row) => row.cells[order.column]?.dataset.value ?? "";
  const rows = [...body.rows].filter((row) => row.cells.length > 1);
  const sign = order.direction === "ascending" ? 1 : -1;
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    const difference = a - b;
    return sign * (Number.isNaN(difference) ? a.localeCompare(b) : difference);
  };
  body.append(...rows.sort(compare));
}

document.addEventListener("click", (event) => {
  const head = event.target.closest?.("th[data-sort]");
  if (!head) return;
  const table = head.closest("table");
  const index = [...document.querySelectorAll("table[data-sortable]")].indexOf(table);
  const before = head.getAttribute("aria-sort");
  const opposite = { ascending: "descending", descending: "ascending" };
  const order = { column: head.cellIndex, direction: opposite[before] ?? head.dataset.sort };
  sorting.set(index, order);
  sortTable(table, order);
});

// Replacing the content by newer content: only what differs is touched, so that the focus, the
// selection and the place on the page stay.

function morph(current, next) {
  // An update has only the place of a part that stays as it is.
  if (next.dataset?.still !== undefined && !next.firstChild) return;
  if (current.nodeType !== next.nodeType || current.nodeName !== next.nodeName) {
    current.replaceWith(next);
    return;
  }
  if (current.nodeType !== Node.ELEMENT_NODE) {
    if (current.nodeValue !== next.nodeValue) current.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...current.attributes]) {
    // A list of values that is open stays so.
    if (!next.hasAttribute(name) && name !== "open") current.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
  morphChildren(current, next);
}

// Elements with a key are matched by it, so that rows keep the focus when their order changes.
function morphChildren(current, next) {
  const keyed = (parent) =>
    new Map([...parent.children].filter(hasKey).map((child) => [child.dataset.key, child]));
  const [old, wanted] = [keyed(current), keyed(next)];
  for (const [key, child] of old) if (!wanted.has(key)) child.remove();
  let at = current.firstChild;
  for (const node of [...next.childNodes]) {
    let match = at && !hasKey(at) ? at : null;
    if (hasKey(node)) {
      match = old.get(node.dataset.key);
      old.delete(node.dataset.key);
    }
    if (!match) {
      current.insertBefore(node, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else current.insertBefore(match, at);
    morph(match, node);
  }
  while (at) {
    const surplus = at;
    at = at.nextSibling;
    surplus.remove();
  }
}

function hasKey(node) {
  return node.dataset?.key !== undefined;
}

function showContent(html) {
  const main = document.querySelector("main");
  const parsed = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html");
  const next = parsed.querySelector("main");
  for (const { name, value } of main.attributes) next.setAttribute(name, value);
  prepareTables(next);
  const focused = document.activeElement;
  morph(main, next);
  // An element that is moved loses the focus.
  if (focused?.isConnected && focused !== document.activeElement) {
    focused.focus({ preventScroll: true });
  }
}

// Live figures, while the page can be seen: a browser has few connections to one server.

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;

function follow(live) {
  let source, timer;
  let wait = FIRST_WAIT_MS;
  const show = (isLive) => {
    live.classList.toggle("on", isLive);
    const text = isLive ? "live" : "not live";
    if (live.textContent !== text) live.textContent = text;
  };
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  };
  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(live.dataset.live);
    source.addEventListener("begin", () => {
      wait = FIRST_WAIT_MS;
      show(true);
    });
    source.addEventListener("content", (event) => {
      show(true);
      if (!document.querySelector("dialog[open]")) showContent(event.data);
    });
    source.addEventListener("end", () => {
      close();
      location.reload();
    });
    source.addEventListener("error", () => {
      close();
      show(false);
      timer = setTimeout(reopen, wait * (0.5 + Math.random() / 2));
      wait = Math.min(2 * wait, LONGEST_WAIT_MS);
    });
  };
  // After a restart, the session is gone. The page is loaded again, which leads to the login.
  const reopen = async () => {
    const needsLogin = await isLoggedOut().catch(() => false);
    if (needsLogin) location.reload();
    else if (!source) open();
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : reopen()));
  window.addEventListener("pagehide", close);
  // The end of the session at a logout must not load the page again.
  document.addEventListener("submit", ({ target }) => target.matches("[method=post]") && close());
  window.addEventListener("pageshow", ({ persisted }) => persisted && open());
  open();
}

// Asks as a person does: that is led to the login, and is no refused request of the audit log.
async function isLoggedOut() {
  const script = document.querySelector("script[src]").src;
  const answer = await fetch(script, { headers: { accept: "text/html" }, cache: "no-store" });
  return answer.redirected || answer.status === 401;
}

// The progress of an action.

const POLL_MS = 500;

function poll() {
  if (!document.querySelector("[data-poll]")) return;
  setTimeout(async () => {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.redirected || !answer.ok) return location.reload();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      showContent(page.querySelector("main").innerHTML);
    } catch {
      // The server is away for a moment: the next attempt follows.
    }
    poll();
  }, POLL_MS);
}

// Confirmations.

async function openDialog(address) {
  const dialog = document.querySelector("#dialog");
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (answer.redirected) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const content = page.querySelector("#confirmation") ?? page.querySelector(".message");
  if (!content) return location.assign(address);
  content.removeAttribute("class");
  const heading = content.querySelector("h2");
  if (heading) heading.id = "dialog-title";
  if (!answer.ok) {
    const close = document.createElement("button");
    close.type = "button";
    close.dataset.close = "";
    close.textContent = "Close";
    content.querySelector("p:last-child").replaceChildren(close);
  }
  dialog.replaceChildren(content);
  dialog.showModal();
  (content.querySelector("[data-close]") ?? dialog).focus();
}

document.addEventListener("click", (event) => {
  const dialog = document.querySelector("#dialog");
  if (event.target.closest?.("[data-close]") && dialog.open) {
    event.preventDefault();
    dialog.close();
    return;
  }
  const opener = event.target.closest?.("a[data-dialog]");
  if (!opener || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openDialog(opener.href).catch(() => location.assign(opener.href));
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!("dialog" in form.dataset)) return;
  event.preventDefault();
  // `form.action` would be its field of this name.
  const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
  openDialog(address).catch(() => location.assign(address));
});

prepareTables(document);
const live = document.querySelector("[data-live]");
if (live) follow(live);
poll();
