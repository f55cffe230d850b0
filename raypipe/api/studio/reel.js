import * as api from "./api.js";
import { h, say, seldom } from "./dom.js";

const list = document.getElementById("reel");
const more = document.getElementById("more");
const entries = new Map();
let current = null;
let last = null;

/** Show the newest films, and keep what is shown true. */
export async function refresh() {
  const page = await api.list();
  for (const film of [...page.data].reverse()) put(film, true);
  const known = new Set(page.data.map((film) => film.id));
  const oldest = page.data.at(-1)?.id ?? "";
  for (const [id, entry] of entries) if (id >= oldest && !known.has(id)) forget(id, entry);
  if (last === null) turn(page);
  if (!page.data.length) list.replaceChildren(h("li", { class: "quiet" }, h("p", { class: "notice" }, "None yet.")));
}

/** Take a film out of the list. */
export function drop(id) {
  const entry = entries.get(id);
  if (entry) forget(id, entry);
}

export const refreshSoon = seldom(700, () => refresh().catch(() => {}));

/** Mark the film that is shown. */
export function mark(id) {
  current = id;
  for (const [each, entry] of entries) {
    if (each === id) entry.link.setAttribute("aria-current", "page");
    else entry.link.removeAttribute("aria-current");
  }
}

more.addEventListener("click", async () => {
  more.disabled = true;
  try {
    const page = await api.list(last);
    for (const film of page.data) put(film, false);
    turn(page);
  } finally {
    more.disabled = false;
  }
});

function turn(page) {
  last = page.last_id;
  more.hidden = !page.has_more;
}

function put(film, first) {
  let entry = entries.get(film.id);
  if (!entry) {
    entry = make(film);
    entries.set(film.id, entry);
    if (first) {
      list.querySelector(".quiet")?.remove();
      list.prepend(entry.item);
    } else list.append(entry.item);
  }
  if (film.id === current) entry.link.setAttribute("aria-current", "page");
  say(entry.title, film.title || film.prompt || film.id);
  const percent = film.status === "in_progress" ? `, ${film.progress} %` : "";
  say(entry.state, `${film.state}${percent} · ${film.seconds} s`);
  if (film.thumbnail_url && !entry.shot.src) entry.shot.src = film.thumbnail_url.slice(1);
}

function make(film) {
  const shot = h("img", { class: "shot", alt: "", loading: "lazy", width: 96, height: 54 });
  shot.addEventListener("error", () => shot.removeAttribute("src"));
  const title = h("b");
  const state = h("span");
  const link = h("a", { href: `#/films/${film.id}` }, shot, h("div", {}, title, state));
  return { shot, title, state, link, item: h("li", {}, link) };
}

function forget(id, entry) {
  entry.item.remove();
  entries.delete(id);
}
