"use strict";
// The lists of single executors: a page of rows at a time, filtered by text and by how they ended.
for (const root of document.querySelectorAll(".executors")) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const ROWS = 50;
  const length = Math.max(data.length, 1);
  const make = (name, text, attributes) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    return element;
  };
  const time = (ms) => (ms < 10000 ? (ms / 1000).toFixed(3) : (ms / 1000).toFixed(1)) + " s";
  const tools = make("div", undefined, { class: "tools" });
  const filter = make("input", undefined, { type: "search", placeholder: "id, host or cause", "aria-label": "Filter executors" });
  const which = make("select", undefined, { "aria-label": "Which executors" });
  for (const [value, text] of [["", "all executors"], ["2", "failed or lost"], ["1", "stopped or finished"], ["0", "not ended"]])
    which.append(make("option", text, { value }));
  const back = make("button", "‹", { type: "button", "aria-label": "Previous page" });
  const on = make("button", "›", { type: "button", "aria-label": "Next page" });
  const place = make("span", "", { class: "soft", role: "status" });
  tools.append(filter, which, back, on, place);
  const table = make("table");
  const head = make("tr");
  for (const text of ["executor", "host", "life", "end"]) head.append(make("th", text, { scope: "col" }));
  table.append(make("thead"), make("tbody"));
  table.tHead.append(head);
  root.append(tools, table);
  let found = data.bars, first = 0;
  const bar = (classes, from, to, title) => make("div", undefined, {
    class: "bar " + classes, title,
    style: `left:${(from / length) * 100}%;width:${(Math.max(to - from, 0) / length) * 100}%`,
  });
  const row = ([id, seen, started, ended, end, kind, host]) => {
    const tr = make("tr");
    const strip = make("div", undefined, { class: "strip" });
    const to = ended < 0 ? data.length : ended;
    if (started >= 0) {
      if (started > seen) strip.append(bar("wait", seen, started, "waited " + time(started - seen)));
      strip.append(bar("k" + kind, started, to, `${time(started)} … ${time(to)}`));
    } else {
      strip.append(bar("dim k" + kind, seen, to, "when it ran is not known; until " + time(to)));
    }
    const track = make("td", undefined, { class: "track" });
    track.append(strip);
    tr.append(make("th", id, { scope: "row" }), make("td", host < 0 ? "" : data.hosts[host]), track, make("td", end < 0 ? "" : data.ends[end]));
    return tr;
  };
  const show = () => {
    table.tBodies[0].replaceChildren(...found.slice(first, first + ROWS).map(row));
    place.textContent = found.length ? `${first + 1}–${Math.min(first + ROWS, found.length)} of ${found.length}` : "none";
    back.disabled = first === 0;
    on.disabled = first + ROWS >= found.length;
  };
  const search = () => {
    const text = filter.value.trim().toLowerCase(), kind = which.value;
    const holds = (names) => names.map((name) => name.toLowerCase().includes(text));
    const hosts = holds(data.hosts), ends = holds(data.ends);
    found = data.bars.filter((it) => (kind === "" || it[5] === Number(kind)) &&
      (text === "" || String(it[0]) === text || hosts[it[6]] || ends[it[4]]));
    first = 0;
    show();
  };
  filter.addEventListener("input", search);
  which.addEventListener("change", search);
  back.addEventListener("click", () => { first = Math.max(first - ROWS, 0); show(); });
  on.addEventListener("click", () => { first += ROWS; show(); });
  show();
}
