import * as api from "./api.js";
import { compose } from "./compose.js";
import { say } from "./dom.js";
import { film } from "./film.js";
import { door } from "./door.js";
import * as reel from "./reel.js";

const stage = document.getElementById("stage");
const line = document.getElementById("line");
let page = null;
let locked = false;

const shownId = () => location.hash.match(/^#\/films\/(vid_[\w-]+)$/)?.[1];

function route() {
  if (locked) return;
  page?.leave();
  const id = shownId();
  page = id ? film(stage, id, (text) => say(line, text)) : compose(stage);
  if (!id) say(line, "");
  reel.mark(id);
  scrollTo(0, 0);
}

addEventListener("locked", () => {
  locked = true;
  page?.leave();
  page = null;
  door(stage);
}, { once: true });

addEventListener("hashchange", route);
route();
await reel.refresh().then(() => reel.mark(shownId())).catch(() => {});
if (!locked) api.follow(
  (event) => {
    page?.happened(event);
    if (event.kind === "video.deleted") reel.drop(event.video_id);
    if (event.kind.startsWith("video.") || event.kind === "step.done") reel.refreshSoon();
  },
  (open) => {
    if (open) reel.refreshSoon();
    else say(line, "The service does not answer; trying again …");
  },
);
