/** The service's routes; whatever goes wrong is an Error whose message can be shown. */
export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function ask(method, path, body, headers = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, "unreachable", "The service does not answer. Nothing is lost: try again.");
  }
  if (answer.status === 401 && path !== "v1/session") dispatchEvent(new Event("locked"));
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = found.error ?? {};
    throw new Refused(answer.status, error.code ?? "http_error", error.message ?? `The service answered ${answer.status}.`);
  }
  return found;
}

const video = (id) => `v1/videos/${encodeURIComponent(id)}`;

/** Show the service a key; it is kept in a cookie that no script can read. */
export const open = (key) => ask("POST", "v1/session", { key });
export const models = () => ask("GET", "v1/models");
export const plan = (request) => ask("POST", "v1/plans", request);
/** Have a film made; sent again under the same key, it is not made twice. */
export const create = (request, key) => ask("POST", "v1/videos", request, { "idempotency-key": key });
export const list = (after) => ask("GET", `v1/videos?limit=30${after ? `&after=${after}` : ""}`);
export const show = (id) => ask("GET", video(id));
export const timeline = (id) => ask("GET", `${video(id)}/timeline`);
export const cancel = (id) => ask("POST", `${video(id)}/cancel`);
/** Go on with a film that waits; `budget`: US dollars that it may cost from then on, or null. */
export const proceed = (id, budget) => ask("POST", `${video(id)}/continue${budget ? `?budget=${encodeURIComponent(budget)}` : ""}`);
export const retry = (id, resubmit) => ask("POST", `${video(id)}/retry${resubmit ? "?resubmit=true" : ""}`);
/** Have a film made of the beats that there are. */
export const without = (id) => ask("POST", `${video(id)}/retry?allow_missing=true`);
export const edit = (id, beat, change) => ask("POST", `${video(id)}/beats/${beat}`, change);
export const remove = (id) => ask("DELETE", video(id));
export const content = (id, variant) => `${video(id)}/content${variant ? `?variant=${variant}` : ""}`;

const KINDS = [
  ...["accepted", "started", "resumed", "waiting", "queued", "edited", "cancelling", "cancelled", "completed", "partial", "failed", "deleted"].map((kind) => `video.${kind}`),
  "step.started", "step.done", "step.failed", "step.unknown", "step.not_taken", "phase.done", "chain.done",
];
const AGAIN = 3000;

/** Follow what happens to all films. A browser comes back by itself when a connection is lost, not when it is refused. */
export function follow(onEvent, onOpen) {
  let last = null;
  const open = () => {
    const source = new EventSource(last === null ? "v1/events" : `v1/events?after=${last}`);
    const told = (event) => { last = event.lastEventId; onEvent(JSON.parse(event.data)); };
    for (const kind of KINDS) source.addEventListener(kind, told);
    source.addEventListener("open", () => onOpen(true));
    source.addEventListener("error", () => {
      onOpen(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN);
    });
  };
  open();
}
