#include "runtime/telemetry/status_page.h"

namespace desta::runtime {

// Asks /state each second. Of a table only the page that is seen is in the document, and of that
// only what has changed is written, so that 10,000 actors cost a sort and 50 rows. Everything from
// the job goes in as textContent.
std::string_view status_page_js() {
  return R"js("use strict";

const PAGE_ROWS = 50;
const HISTORY = 120;  // points of a small graph: two minutes
const STATES = ["starting", "idle", "busy", "restarting", "dead"];
const byId = (id) => document.getElementById(id);
const natural = new Intl.Collator("en", { numeric: true });

// ---- words and numbers

function count(value) {
  return Number(value).toLocaleString("en-GB", { maximumFractionDigits: 0 });
}
function figure(value) {
  if (value === null) return "not a number";
  const size = Math.abs(value);
  if (size >= 1000 || Number.isInteger(value)) return count(value);
  if (size !== 0 && size < 0.001) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
function duration(seconds) {
  if (seconds < 10) return seconds.toFixed(1) + " s";
  if (seconds < 60) return Math.round(seconds) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + " min " + Math.floor(seconds % 60) + " s";
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit + 1 < units.length) { value /= 1024; ++unit; }
  return (unit && value < 10 ? value.toFixed(1) : Math.round(value)) + " " + units[unit];
}

// ---- the document

function make(tag, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  return element;
}
function draw(tag) { return document.createElementNS("http://www.w3.org/2000/svg", tag); }
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function dress(element, className) {
  if (element.className !== className) element.className = className;
}
// As many children as there are values: made, filled, or taken away.
function match(parent, values, create, fill) {
  while (parent.children.length > values.length) parent.lastElementChild.remove();
  while (parent.children.length < values.length) parent.append(create());
  values.forEach((value, index) => fill(parent.children[index], value));
}
function cells(kinds) {
  return () => {
    const row = make("tr");
    for (const kind of kinds) row.append(make("td", kind));
    return row;
  };
}
function put(cell, text, className) {
  write(cell, text);
  cell.title = text;
  dress(cell, className);
}
// Buttons and words under a table that has more rows than a page.
function pager(holder, change) {
  const back = make("button"), words = make("span"), on = make("button");
  back.textContent = "Previous";
  on.textContent = "Next";
  back.addEventListener("click", () => change(-1));
  on.addEventListener("click", () => change(1));
  holder.append(back, words, on);
  return (page, rows) => {
    const pages = Math.max(1, Math.ceil(rows / PAGE_ROWS));
    page = Math.min(page, pages - 1);
    holder.hidden = pages === 1;
    back.disabled = page === 0;
    on.disabled = page === pages - 1;
    const first = page * PAGE_ROWS;
    const last = Math.min(first + PAGE_ROWS, rows);
    write(words, `${count(first + 1)} to ${count(last)} of ${count(rows)}`);
    return page;
  };
}

// ---- figures

const histories = new Map();

function graph(svg, name, time, value) {
  let points = histories.get(name);
  if (!points) histories.set(name, points = []);
  if (Number.isFinite(value) && (!points.length || points[points.length - 1][0] !== time)) {
    points.push([time, value]);
    if (points.length > HISTORY) points.shift();
  }
  const values = points.map((point) => point[1]);
  const low = Math.min(...values), high = Math.max(...values);
  const line = svg.firstElementChild;
  svg.style.visibility = points.length > 1 ? "visible" : "hidden";
  line.setAttribute("points", values.map((each, index) => {
    const height = high > low ? (each - low) / (high - low) : 0.5;
    const across = index / Math.max(1, values.length - 1);
    return `${(100 * across).toFixed(2)},${(22 - 20 * height).toFixed(2)}`;
  }).join(" "));
}
function makeFigure() {
  const box = make("div", "figure");
  const svg = draw("svg");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(draw("polyline"));
  box.append(make("span", "name"), make("span", "value"), make("span", "note"), svg);
  return box;
}
function showFigures(state) {
  const failures = state.actors.reduce((sum, actor) => sum + actor.failures, 0);
  const restarts = state.actors.reduce((sum, actor) => sum + actor.restarts, 0);
  const pending = state.actors.reduce((sum, actor) => sum + actor.pending, 0);
  const boxes = [
    { key: "calls", name: "calls a second", value: state.calls_per_second,
      note: count(state.calls) + " in all" },
    { key: "pending", name: "calls waiting or running", value: pending, note: "" },
    { key: "failures", name: "failed calls", value: failures, note: count(restarts) + " restarts" },
  ];
  for (const [name, value] of Object.entries(state.gauges)) {
    boxes.push({ key: "job " + name, name: name.replaceAll("_", " "), value, note: "" });
  }
  match(byId("figures"), boxes, makeFigure, (box, entry) => {
    const [name, value, note, svg] = box.children;
    write(name, entry.name);
    name.title = entry.name;
    write(value, figure(entry.value));
    write(note, entry.note);
    graph(svg, entry.key, state.time, entry.value);
  });
}

// ---- nodes

let nodePage = 0;
const showNodePages = pager(byId("node-pages"), (step) => { nodePage += step; show(); });

function makeNode() {
  const row = cells(["number", "", "", "number soft", "", "", "", "number", "number"])();
  for (const column of [4, 5, 6]) {
    const bar = make("span", "bar");
    bar.append(make("i"));
    row.children[column].append(bar, make("span"));
  }
  return row;
}
function use(cell, total, free, words) {
  const used = Math.max(0, total - free);
  const [bar, text] = cell.children;
  bar.style.visibility = total > 0 ? "visible" : "hidden";
  bar.firstElementChild.style.width = (total > 0 ? Math.min(100, 100 * used / total) : 0) + "%";
  write(text, total > 0 ? `${words(used)} of ${words(total)}` : "none");
}
function showNodes(state) {
  const actors = new Map();
  for (const actor of state.actors) actors.set(actor.node, (actors.get(actor.node) ?? 0) + 1);
  const troubled = state.nodes.filter((node) => node.state !== "alive").length;
  const trouble = troubled ? `, ${count(troubled)} not alive` : "";
  write(byId("node-count"), count(state.nodes.length) + trouble);
  nodePage = showNodePages(nodePage, state.nodes.length);
  const rows = state.nodes.slice(nodePage * PAGE_ROWS, (nodePage + 1) * PAGE_ROWS);
  match(byId("nodes").tBodies[0], rows, makeNode, (row, node) => {
    const cell = row.children;
    dress(row, node.state);
    put(cell[0], String(node.node), "number");
    const joined = node.kind === "joined" ? ", joined" : "";
    const why = node.death_cause ? ": " + node.death_cause : joined;
    put(cell[1], node.state + why, "state " + node.state);
    put(cell[2], node.host, "");
    put(cell[3], String(node.process), "number soft");
    const small = (value) => String(Number(value.toFixed(2)));
    use(cell[4], node.total.cpu, node.free.cpu, small);
    use(cell[5], node.total.gpu, node.free.gpu, small);
    use(cell[6], node.total.memory, node.free.memory, bytes);
    put(cell[7], count(actors.get(node.node) ?? 0), "number");
    const late = node.state === "silent" ? " wrong" : "";
    put(cell[8], duration(node.seconds_since_heartbeat), "number" + late);
  });
}

// ---- actors

const number = (key, wrong) => ({
  sort: (a, b) => a[key] - b[key], first: -1, kind: "number",
  show: (cell, actor) => put(cell, count(actor[key]),
    "number" + (actor[key] === 0 ? " zero" : wrong ? " wrong" : "")),
});
const word = (key, kind) => ({
  sort: (a, b) => natural.compare(a[key], b[key]), first: 1, kind,
  show: (cell, actor) => put(cell, actor[key], kind),
});
const COLUMNS = [
  { title: "Name", width: 18, ...word("name", "name") },
  { title: "Type", width: 9, ...word("type", "") },
  { title: "Node", width: 5, ...number("node"), first: 1,
    show: (cell, actor) => put(cell, String(actor.node), "number") },
  { title: "State", width: 9, first: -1, kind: "",
    sort: (a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state),
    show: (cell, actor) => put(cell, actor.state, "state " + actor.state) },
  { title: "Mailbox", width: 7, ...number("pending") },
  { title: "Calls", width: 7, ...number("calls") },
  { title: "Failures", width: 7, ...number("failures", true) },
  { title: "Restarts", width: 7, ...number("restarts") },
  { title: "Owner", width: 9, ...word("owner", "soft") },
  { title: "Now", width: 22, sort: (a, b) => runs(a) - runs(b), first: -1, kind: "",
    show: (cell, actor) => put(cell, now(actor), actor.death_cause ? "cause" : "") },
];

function trouble(actor) { return Math.max(0, STATES.indexOf(actor.state) - 2); }
function runs(actor) { return actor.running ? actor.running_seconds : -1; }
function now(actor) {
  if (actor.death_cause) return actor.death_cause;
  return actor.running ? `${actor.running} for ${duration(actor.running_seconds)}` : "";
}

// Until a column is asked for: what is dead or restarting, then the rest, which stays where it is
// while calls come and go.
let column = { sort: (a, b) => trouble(b) - trouble(a) };
let direction = 1;
let actorPage = 0;
const chosen = new Set();  // states; none: all
const showActorPages = pager(byId("actor-pages"), (step) => { actorPage += step; show(); });

for (const each of COLUMNS) {
  const head = make("th", each.kind === "number" ? "number" : "");
  const button = make("button");
  button.textContent = each.title;
  head.style.width = each.width + "%";
  button.addEventListener("click", () => {
    direction = column === each ? -direction : each.first;
    column = each;
    choose();
  });
  head.append(button);
  byId("actors").tHead.rows[0].append(head);
  each.head = head;
}
for (const state of STATES) {
  const button = make("button", "state " + state);
  button.append(state, make("b"));
  button.addEventListener("click", () => {
    if (!chosen.delete(state)) chosen.add(state);
    choose();
  });
  byId("states").append(button);
}
byId("filter").addEventListener("input", choose);

// What is chosen stands in the address, /#filter=node:3&state=dead&sort=calls&order=down, so that
// it can be kept and passed on.
function choose() {
  const address = new URLSearchParams();
  if (byId("filter").value) address.set("filter", byId("filter").value);
  for (const state of chosen) address.append("state", state);
  if (column.title) {
    address.set("sort", column.title.toLowerCase());
    address.set("order", direction > 0 ? "up" : "down");
  }
  history.replaceState(null, "", "#" + address);
  actorPage = 0;
  show();
}
function recall() {
  const address = new URLSearchParams(location.hash.slice(1));
  byId("filter").value = address.get("filter") ?? "";
  for (const state of address.getAll("state")) if (STATES.includes(state)) chosen.add(state);
  const sort = COLUMNS.find((each) => each.title.toLowerCase() === address.get("sort"));
  if (sort) {
    column = sort;
    direction = address.get("order") === "down" ? -1 : 1;
  }
}

// Every word must be in the actor's texts; node:3 asks for the node alone.
function filterOf(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (actor) => {
    if (chosen.size && !chosen.has(actor.state)) return false;
    if (!words.length) return true;
    const all = [actor.name, actor.type, actor.owner, actor.running, actor.death_cause]
      .join("\n").toLowerCase();
    return words.every((each) =>
      each.startsWith("node:") ? each === "node:" + actor.node : all.includes(each));
  };
}
function showActors(state) {
  const counts = new Map();
  for (const actor of state.actors) counts.set(actor.state, (counts.get(actor.state) ?? 0) + 1);
  STATES.forEach((name, index) => {
    const button = byId("states").children[index];
    write(button.lastElementChild, count(counts.get(name) ?? 0));
    button.setAttribute("aria-pressed", String(chosen.has(name)));
  });
  for (const each of COLUMNS) {
    if (each !== column) each.head.removeAttribute("aria-sort");
    else each.head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }
  const found = state.actors.filter(filterOf(byId("filter").value));
  const byName = COLUMNS[0].sort;
  found.sort((a, b) => direction * column.sort(a, b) || byName(a, b));
  const all = state.actors.length;
  write(byId("actor-count"),
    found.length === all ? count(all) : `${count(found.length)} of ${count(all)}`);
  byId("none").hidden = found.length > 0 || all === 0;
  actorPage = showActorPages(actorPage, found.length);
  const rows = found.slice(actorPage * PAGE_ROWS, (actorPage + 1) * PAGE_ROWS);
  match(byId("actors").tBodies[0], rows, cells(COLUMNS.map((each) => each.kind)), (row, actor) => {
    dress(row, actor.state);
    COLUMNS.forEach((each, index) => each.show(row.children[index], actor));
  });
}

// ---- the whole

let latest = null;
let heard = null;  // when, by this browser's clock

function show() {
  if (!latest) return;
  byId("content").hidden = false;
  byId("hang").hidden = !latest.hang;
  if (latest.hang) {
    write(byId("culprit"), latest.hang.culprit);
    match(byId("waiting"), latest.hang.waiting, () => make("li"), write);
  }
  showFigures(latest);
  showNodes(latest);
  showActors(latest);
}
function showLink(live) {
  document.body.classList.toggle("gone", !live);
  const link = byId("link");
  dress(link, live ? "live" : "lost");
  if (live) {
    write(link, "running for " + duration(latest.uptime));
  } else {
    const last = heard ? `the last answer came at ${heard.toLocaleTimeString("en-GB")}; ` : "";
    write(link, `gone: ${last}the job has ended, or cannot be reached`);
  }
  document.title = (live ? (latest.hang ? "hangs" : "runs") : "gone") + " \u00b7 desta";
}
async function ask() {
  const gaveUp = new AbortController();
  const timer = setTimeout(() => gaveUp.abort(), 5000);
  try {
    const answer = await fetch("/state", { signal: gaveUp.signal, cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    latest = await answer.json();
    heard = new Date();
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
  return true;
}
async function follow() {
  if (!document.hidden) {
    const live = await ask();
    if (live) show();
    showLink(live);
  }
  setTimeout(follow, 1000);
}
recall();
follow();
)js";
}

}  // namespace desta::runtime
