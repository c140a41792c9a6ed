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
  if (current.nodeType !== next.nodeType || current.nodeName !== next.nodeName) {
    current.replaceWith(next);
    return;
  }
  if (current.nodeType !== Node.ELEMENT_NODE) {
    if (current.nodeValue !== next.nodeValue) current.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...current.attributes]) {
    if (!next.hasAttribute(name)) current.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (current.getAttribute(name) !== value) current.setAttribute(name, value);
  }
  const children = [...current.childNodes];
  const wanted = [...next.childNodes];
  wanted.forEach((node, index) => {
    if (children[index]) morph(children[index], node);
    else current.append(node);
  });
  for (const surplus of children.slice(wanted.length)) surplus.remove();
}

function showContent(html) {
  const main = document.querySelector("main");
  const parsed = new DOMParser().parseFromString(`<main>${html}</main>`, "text/html");
  const next = parsed.querySelector("main");
  for (const { name, value } of main.attributes) next.setAttribute(name, value);
  prepareTables(next);
  morph(main, next);
}

// Live figures.

const RECONNECT_MS = 15000;

function follow(live) {
  const source = new EventSource(live.dataset.live);
  const show = (isLive) => {
    live.classList.toggle("on", isLive);
    const text = isLive ? "live" : "not live";
    if (live.textContent !== text) live.textContent = text;
  };
  source.addEventListener("begin", () => show(true));
  source.addEventListener("content", (event) => {
    show(true);
    if (!document.querySelector("dialog[open]")) showContent(event.data);
  });
  source.addEventListener("end", () => {
    source.close();
    location.reload();
  });
  source.addEventListener("error", () => {
    show(false);
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(() => follow(live), RECONNECT_MS);
    }
  });
  window.addEventListener("pagehide", () => source.close(), { once: true });
}

// The progress of an action.

const POLL_MS = 500;

function poll() {
  if (!document.querySelector("[data-poll]")) return;
  setTimeout(async () => {
    try {
      const answer = await fetch(location.href);
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
  const answer = await fetch(address);
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
  const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
  openDialog(address).catch(() => location.assign(address));
});

prepareTables(document);
const live = document.querySelector("[data-live]");
if (live) follow(live);
poll();
