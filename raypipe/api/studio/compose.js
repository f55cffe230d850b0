import * as api from "./api.js";
import { dollars, h, say } from "./dom.js";

const SIZES = [["1280x720", "16:9, 720p"], ["720x1280", "9:16, upright"], ["720x720", "1:1, square"], ["1920x1080", "16:9, 1080p"]];
const MOODS = ["", "calm", "cinematic", "dramatic", "epic", "hopeful", "melancholic", "playful", "tense", "uplifting"];

/** The page on which a film is begun: say what it is about, see the plan and its cost, change beats, start. */
export function compose(stage) {
  let planned = null;
  let key = "";
  let asked = 0;
  let changed = false;
  const problem = h("p", { class: "bad", role: "alert" });
  const prompt = h("textarea", { class: "prompt", id: "prompt", required: true, maxLength: 4000, placeholder: "A lighthouse keeper in a storm" });
  const length = h("input", { type: "number", min: 5, max: 300, step: 1, value: 30 });
  const size = choice(SIZES);
  const mood = choice(MOODS.map((each) => [each, each || "automatic"]));
  const approve = h("input", { type: "checkbox" });
  const makers = { image: h("select"), clip: h("select"), music: h("select") };
  const beats = h("ol", { class: "beats" });
  const cost = h("p", { class: "total" });
  const plan = h("button", { type: "submit" }, "Plan it");
  const start = h("button", { type: "button", class: "main", disabled: true, onclick: begin }, "Make the film");
  const notes = h("ul", { class: "quiet" });

  const form = h("form", { class: "panel stack", onsubmit: look },
    h("label", { htmlFor: "prompt" }, "What is it about?", prompt),
    h("div", { class: "fields" },
      h("label", {}, "Length, seconds", length), h("label", {}, "Picture", size), h("label", {}, "Mood", mood)),
    h("details", {}, h("summary", {}, "Who makes it"),
      h("div", { class: "fields" },
        h("label", {}, "Images", makers.image), h("label", {}, "Clips", makers.clip), h("label", {}, "Music", makers.music))),
    h("label", { class: "check" }, approve, "Show me the storyboard before clips are bought"),
    h("div", { class: "row" }, plan, start, cost), problem, notes);
  const board = h("section", { class: "stack", hidden: true, "aria-label": "Plan" }, h("h2", {}, "The plan; change what a beat shows before it is made"), beats);
  stage.replaceChildren(h("div", { class: "stack" }, h("h1", {}, "A new film"), form, board));
  fillMakers(makers).catch((error) => say(problem, error.message));
  form.addEventListener("input", () => { planned = null; asked += 1; start.disabled = true; });
  board.addEventListener("input", (event) => event.stopPropagation());

  function request() {
    const models = Object.fromEntries(Object.entries(makers).filter(([, each]) => each.value).map(([kind, each]) => [kind, each.value]));
    return {
      prompt: prompt.value, seconds: Number(length.value), size: size.value,
      ...(mood.value ? { mood: mood.value } : {}), ...(Object.keys(models).length ? { models } : {}),
      ...(approve.checked ? { until: "storyboard" } : {}),
    };
  }

  async function look(event) {
    event.preventDefault();
    if (changed && !confirm("Plan it anew? What you changed in the beats is lost.")) return;
    await busy(plan, async () => {
      asked += 1;
      const mine = asked;
      const found = await api.plan(request());
      if (mine !== asked) return; // the form says something else by now
      planned = found.spec;
      changed = false;
      key = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
      say(cost, found.estimated_cost ? `about ${dollars(found.estimated_cost)}` : "free");
      notes.replaceChildren(...found.notes.map((note) => h("li", {}, note)));
      beats.replaceChildren(...planned.beats.map(card));
      board.hidden = false;
      start.disabled = false;
    });
  }

  function card(beat, index) {
    const text = h("textarea", { rows: 4, value: beat.prompt, maxLength: 4000, oninput: () => { beat.prompt = text.value; key += "+"; changed = true; } });
    return h("li", { class: "beat" }, h("div", { class: "text" },
      h("p", { class: "quiet" }, `Beat ${index + 1} · ${beat.duration} s · ${beat.shot_type}, ${beat.camera_movement}`),
      h("label", {}, `What beat ${index + 1} shows`, text)));
  }

  async function begin() {
    await busy(start, async () => {
      const made = await api.create({ spec: planned }, key);
      location.hash = `#/films/${made.id}`;
    });
  }

  async function busy(button, work) {
    say(problem, "");
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      say(problem, error.message.replace(/^spec\.beats\[(\d+)\]\.prompt: /, (_, index) => `Beat ${Number(index) + 1}: what it shows `));
    } finally {
      button.disabled = button === start && planned === null;
    }
  }

  prompt.focus();
  return { leave() {}, happened() {} };
}

function choice(options) {
  return h("select", {}, options.map(([value, text]) => h("option", { value }, text)));
}

async function fillMakers(makers) {
  const { data } = await api.models();
  for (const [kind, select] of Object.entries(makers)) {
    const found = data.filter((model) => model.kind === kind && model.id !== "simulated");
    const options = found.map((model) => {
      const price = model.price ?? "price not known";
      const missing = model.key === "missing";
      return h("option", { value: model.id, disabled: missing }, `${model.id} (${price}${missing ? ", no key" : ""})`);
    });
    select.replaceChildren(h("option", { value: "" }, "local (free)"), ...options.filter((option) => option.value !== "local"));
  }
}
