import * as api from "./api.js";
import { dollars, h, say, seconds, seldom } from "./dom.js";

const STOPPABLE = ["queued", "running", "waiting"];
const AGAIN = ["failed", "partial", "cancelled"];
const EDITABLE = ["completed", "partial", "failed", "cancelled", "waiting"];

const made = (video) => video.beats.filter((beat) => beat.chunk.state === "done").length;

/** What befell a step for the sake of another, or because the film was cancelled, did not go wrong with it. */
const wentWrong = (error) => error && !["upstream_failed", "cancelled"].includes(error.code);

/** What a step lacks that is asked for again when its film goes on. */
const lacksMoney = (error) => ["out_of_funds", "budget_reached", "daily_budget_reached", "key_budget_reached"].includes(error?.code);
const lacks = ({ image, chunk }) => lacksMoney(image.error) || lacksMoney(chunk.error);

/** Whether a beat is made when its film goes on: it lacks money, or the beat that it follows does. */
function waits(video, beat) {
  if (video.state !== "waiting") return false;
  const follows = beat.role === "follower" && beat.chunk.error?.code === "upstream_failed";
  return lacks(beat) || (follows && waits(video, video.beats[beat.beat_index - 1]));
}

/** Say what went wrong, or is waited for, in the numbers that the page gives beats, which begin with 1. */
function whatIsWrong(video) {
  const waiting = video.state === "waiting" ? video.beats.filter(lacks) : [];
  const failed = video.beats.filter((beat) => !waiting.includes(beat) && [beat.image.error, beat.chunk.error].some(wentWrong));
  if (!waiting.length && !failed.length) return video.error.message;
  const said = [...about(waiting, "waits", "wait"), ...about(failed, "failed", "failed")].join("; ");
  return `${said}: why is said there. ${made(video)} of ${video.beats.length} clips are made and kept.`;
}

const about = (beats, one, several) => (beats.length ? [`Beat${beats.length > 1 ? "s" : ""} ${beats.map((beat) => beat.beat_index + 1).join(", ")} ${beats.length > 1 ? several : one}`] : []);

/** The page of one film: its beats as they are made, what runs when, the film itself, and what can be done with it. */
export function film(stage, id, announce) {
  const title = h("h1", {}, "…");
  const state = h("span", { class: "state" });
  const bar = h("progress", { max: 100, value: 0, "aria-label": "Progress" });
  const facts = h("dl", { class: "facts" });
  const why = h("p", { class: "why", role: "alert" });
  const actions = h("div", { class: "row" });
  const screen = h("section", { hidden: true, "aria-label": "Film" });
  const beats = h("ol", { class: "beats" });
  const gantt = h("div", { class: "gantt", role: "img" });
  const lanes = h("section", { class: "panel stack", hidden: true }, h("h2", {}, "What runs when"), gantt);
  const cards = new Map();
  let shown = null;
  let gone = false;

  stage.replaceChildren(h("article", { class: "stack" },
    h("div", { class: "stack" }, h("div", { class: "row" }, state), title, bar, facts, why, actions),
    screen, h("section", { "aria-label": "Beats" }, beats), lanes));

  const refreshSoon = seldom(350, () => refresh().catch(failed));
  const ticking = setInterval(() => { if (shown && ["running", "queued", "cancelling"].includes(shown.state)) refreshSoon(); }, 2000);
  refresh().catch(failed);

  async function refresh() {
    if (gone) return;
    const video = await api.show(id);
    if (gone) return;
    shown = video;
    draw(video);
    const line = await api.timeline(id);
    if (!gone) drawGantt(line);
  }

  function failed(error) {
    if (gone) return;
    if (error.status === 404) sayDeleted();
    else say(why, error.message);
  }

  function sayDeleted() {
    gone = true;
    clearInterval(ticking);
    stage.replaceChildren(h("p", { class: "notice" }, "There is no such film. It may have been deleted. ", h("a", { href: "#/" }, "Make a new one.")));
  }

  function draw(video) {
    say(title, video.title || video.prompt);
    document.title = `${video.title || "Film"} · raypipe studio`;
    state.dataset.is = video.state;
    const words = video.state === "waiting" && video.error?.code === "approval" ? "waits for your approval" : video.state;
    say(state, words);
    bar.value = video.progress;
    bar.hidden = video.state === "completed";
    const cost = video.cost || video.estimated_cost ? `${dollars(video.cost)} of about ${dollars(video.estimated_cost ?? 0)}` : "free";
    drawFacts([["length", `${Number(video.seconds) < video.spec.duration ? `${video.seconds} of ${video.spec.duration}` : video.seconds} s`], ["picture", video.size], ["made by", video.model], ["cost", cost],
      ...(video.doubtful_cost ? [["maybe paid on top", dollars(video.doubtful_cost)]] : [])]);
    const approval = video.error?.code === "approval";
    say(why, video.error && !approval ? whatIsWrong(video) : "");
    why.dataset.is = video.state;
    drawActions(video, approval);
    for (const beat of video.beats) drawBeat(video, beat);
    drawScreen(video);
    announce(`${video.title}: ${words}, ${video.progress} %`);
  }

  function drawFacts(pairs) {
    if (facts.dataset.said === JSON.stringify(pairs)) return;
    facts.dataset.said = JSON.stringify(pairs);
    facts.replaceChildren(...pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }

  function drawActions(video, approval) {
    const wanted = [
      video.state === "waiting" && ["continue", approval ? "Make the clips" : "Go on", "main", proceed],
      AGAIN.includes(video.state) && ["retry", "Try again", "main", () => api.retry(id, false)],
      video.state === "partial" && made(video) > 0 && !video.content_url && ["missing", "Make it without what failed", "", () => api.without(id)],
      AGAIN.includes(video.state) && video.doubtful_cost > 0 && ["resubmit", "Try again, also what may be paid twice", "", () => api.retry(id, true)],
      STOPPABLE.includes(video.state) && ["cancel", "Cancel", "danger", () => api.cancel(id)],
      video.content_url && ["download", "Download", "main", null],
      (AGAIN.includes(video.state) || video.state === "completed") && ["delete", "Delete", "danger", remove],
    ].filter(Boolean);
    const names = wanted.map(([name, text]) => `${name}: ${text}`).join();
    if (actions.dataset.names === names) return;
    actions.dataset.names = names;
    actions.replaceChildren(...wanted.map(([name, text, kind, call]) => (call === null
      ? h("a", { class: `button ${kind}`, href: api.content(id), download: "" }, text)
      : h("button", { type: "button", class: kind, onclick: (event) => act(event.currentTarget, call) }, text))));
  }

  async function act(button, call) {
    say(why, "");
    button.disabled = true;
    try {
      await call();
      if (!gone) await refresh();
    } catch (error) {
      say(why, error.message);
    } finally {
      button.disabled = false;
    }
  }

  /** Go on with a film that waits; one that has reached its own budget needs another. */
  async function proceed() {
    const own = shown.error?.code === "budget_reached" ? shown.spec.budget ?? null : null;
    const budget = own === null ? null : prompt("What may this film cost, in US dollars?", own);
    if (own === null || budget) await api.proceed(id, budget);
  }

  async function remove() {
    if (!confirm("Delete this film and all that was made for it?")) return;
    gone = true;
    try {
      await api.remove(id);
    } catch (error) {
      gone = false;
      throw error;
    }
    location.hash = "#/";
  }

  function drawScreen(video) {
    const key = video.content_url ? String(video.completed_at) : "";
    if (screen.dataset.key === key) return;
    screen.dataset.key = key;
    screen.hidden = true;
    if (!video.content_url) return screen.replaceChildren();
    let from = 0;
    const shots = video.beats.filter((beat) => beat.chunk.state === "done").map((beat) => {
      from += beat.duration;
      return { number: beat.beat_index + 1, start: from - beat.duration, end: from };
    });
    const player = h("video", { controls: true, playsInline: true, preload: "metadata", src: `${api.content(id)}?${key}`, poster: (video.beats[0].image.url ?? "").slice(1), "aria-label": `The film ${video.title}` });
    const chapters = h("div", { class: "chapters", role: "group", "aria-label": "Chapters" }, shots.map(({ number, start }) => h("button", {
      type: "button", onclick: () => { player.currentTime = start + 0.02; player.play().catch(() => {}); },
    }, `${number} · ${clock(start)}`)));
    player.addEventListener("timeupdate", () => {
      for (const [index, button] of [...chapters.children].entries()) {
        const now = player.currentTime >= shots[index].start && player.currentTime < shots[index].end;
        if (now) button.setAttribute("aria-current", "true");
        else button.removeAttribute("aria-current");
      }
    });
    screen.replaceChildren(h("div", { class: "screen" }, player), chapters);
    screen.hidden = false;
  }

  function drawBeat(video, beat) {
    const card = cards.get(beat.beat_index) ?? newCard(beat);
    const { image, chunk } = beat;
    say(card.number, `${beat.beat_index + 1} · ${seconds(beat.duration)}${beat.role === "follower" ? ` · follows ${beat.beat_index}` : ""}`);
    say(card.shows, beat.prompt);
    card.prompt = beat.prompt;
    if (image.url && card.seen !== image.url) {
      card.seen = image.url;
      card.image.src = image.url.slice(1);
      card.image.alt = `Storyboard image of beat ${beat.beat_index + 1}: ${beat.prompt}`;
      card.image.hidden = false;
    }
    card.empty.hidden = Boolean(image.url);
    const waiting = waits(video, beat);
    say(card.empty, waiting && lacksMoney(image.error) ? "image waits" : wentWrong(image.error) ? "no image" : image.error ? "image cancelled" : image.state === "waiting" ? "image to come" : "image in the making");
    const over = ["cancelled", "failed", "partial", "waiting"].includes(video.state);
    const word = waiting && chunk.error ? "waiting" : wordFor(chunk, over);
    card.state.dataset.is = ["cancelled", "not made", "queued", "waiting"].includes(word) ? word : chunk.state;
    say(card.state, chunk.url ? `clip done in ${seconds(chunk.finished_at - chunk.started_at)}` : `clip ${word}`);
    card.why.dataset.is = waiting ? "waiting" : "";
    const unsaid = waiting ? ["cancelled", "upstream_failed"] : ["cancelled"];
    say(card.why, [image.error, chunk.error].filter((error) => error && !unsaid.includes(error.code)).map((error) => error.message).join(" · "));
    card.play.hidden = !chunk.url;
    card.clip = chunk.url;
    if (card.played && card.played !== chunk.url) stop(card);
    const editable = EDITABLE.includes(video.state);
    card.redo.hidden = !editable || card.form.isConnected;
    drawTakes(card, beat, editable);
  }

  function drawTakes(card, beat, editable) {
    const key = `${beat.takes.length}/${beat.take}/${editable}`;
    if (card.takes.dataset.key === key) return;
    card.takes.dataset.key = key;
    card.takes.hidden = beat.takes.length < 2;
    card.takes.replaceChildren(h("label", {}, `Take of beat ${beat.beat_index + 1}`, h("select", {
      disabled: !editable,
      onchange: async (event) => {
        const select = event.currentTarget;
        await act(select, () => api.edit(id, beat.beat_index, { take: Number(select.value) }));
        card.takes.dataset.key = ""; // a take that was refused is not in use
        if (shown) drawBeat(shown, shown.beats[beat.beat_index]);
      },
    }, beat.takes.map((take) => h("option", { value: take.take, selected: take.take === beat.take }, `${take.take}: ${take.prompt.slice(0, 60)}`)))));
  }

  function newCard(beat) {
    const index = beat.beat_index;
    const card = { number: h("span", { class: "number" }), image: h("img", { hidden: true, alt: "" }), empty: h("span", { class: "empty" }) };
    card.play = h("button", { type: "button", class: "small play", hidden: true, "aria-label": `Play the clip of beat ${index + 1}`, onclick: () => play(card) }, "▶ clip");
    card.frame = h("div", { class: "frame" }, card.image, card.empty, card.number, card.play);
    card.shows = h("p", { class: "shows" });
    card.state = h("span", { class: "state" });
    card.why = h("p", { class: "why" });
    card.takes = h("div", { hidden: true });
    const text = h("textarea", { rows: 4, maxLength: 4000 });
    card.form = h("form", { onsubmit: (event) => { event.preventDefault(); remake(card, index, text.value); } },
      h("label", {}, `What beat ${index + 1} shows`, text),
      h("div", { class: "row" }, h("button", { class: "small main" }, "Make it"), h("button", { type: "button", class: "small", onclick: () => close(card) }, "Leave it")));
    card.redo = h("button", { type: "button", class: "small", hidden: true, "aria-label": `Make beat ${index + 1} anew`, onclick: () => {
      text.value = card.prompt;
      card.text.append(card.form);
      card.redo.hidden = true;
      text.focus();
    } }, "Make anew");
    card.text = h("div", { class: "text" }, card.shows, h("div", { class: "row" }, card.state, card.redo), card.why, card.takes);
    cards.set(index, card);
    beats.append(h("li", { class: "beat" }, card.frame, card.text));
    return card;
  }

  async function remake(card, index, text) {
    const prompt = text.trim() === card.prompt.trim() ? {} : { prompt: text.trim() };
    await act(card.form.querySelector("button"), async () => {
      await api.edit(id, index, prompt);
      close(card);
    });
  }

  function close(card) {
    card.form.remove();
    card.redo.hidden = false;
    card.redo.focus();
  }

  function play(card) {
    stop(card);
    card.played = card.clip;
    card.video = h("video", { src: card.clip.slice(1), autoplay: true, muted: true, controls: true, playsInline: true, onended: () => stop(card) });
    card.frame.append(card.video);
  }

  function stop(card) {
    card.video?.remove();
    card.played = null;
  }

  function drawGantt(line) {
    lanes.hidden = !line.bars.length;
    const rows = new Map();
    for (const row of line.bars) rows.set(row.row, [...(rows.get(row.row) ?? []), row]);
    const order = (name) => (name.startsWith("beat ") ? Number(name.slice(5)) : name === "music" ? 900 : 901);
    const names = [...rows.keys()].sort((a, b) => order(a) - order(b));
    const end = Math.max(line.seconds, 0.1);
    gantt.setAttribute("aria-label", `${line.bars.length} steps in ${seconds(line.seconds)}`);
    gantt.replaceChildren(...names.flatMap((name) => [
      h("span", { class: "quiet" }, name.startsWith("beat ") ? `beat ${Number(name.slice(5)) + 1}` : name),
      h("div", { class: "lane" }, rows.get(name).map((step) => {
        const mark = h("span", { "data-group": step.group, "data-state": step.state, title: `${step.step}: ${seconds(step.end - step.start)}` });
        mark.style.left = `${(100 * step.start) / end}%`;
        mark.style.width = `${(100 * (step.end - step.start)) / end}%`;
        return mark;
      })),
    ]));
  }

  return {
    leave() { gone = true; clearInterval(ticking); document.title = "raypipe studio"; },
    happened(event) {
      if (event.video_id !== id || gone) return;
      if (event.kind === "video.deleted") sayDeleted();
      else refreshSoon();
    },
  };
}

/** How a clip stands, in a word. */
function wordFor(chunk, over) {
  if (chunk.error?.code === "cancelled") return "cancelled";
  if (chunk.state === "waiting") return over ? "not made" : "queued";
  return { sent: "asked for", accepted: "in the making", running: "in the making", unknown: "in doubt" }[chunk.state] ?? chunk.state;
}

const clock = (at) => `${Math.floor(at / 60)}:${String(Math.floor(at % 60)).padStart(2, "0")}`;
