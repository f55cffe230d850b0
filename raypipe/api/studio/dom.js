/** Foreign text may say in which direction it runs, and with that turn our own words round (Unicode UAX 9). */
const straight = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, "");

/** Make an element: properties, then children; what is null or false is left out. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...shown.map((child) => (typeof child === "string" ? straight(child) : child)));
  return element;
}

/** Write text where it has changed, so that readers of the screen are not told again what they know. */
export function say(element, text) {
  const shown = straight(String(text));
  if (element.textContent !== shown) element.textContent = shown;
}

/** Call a function at once, and again at most once in so many milliseconds, however often it is asked for. */
export function seldom(milliseconds, call) {
  let due = null;
  let last = 0;
  return () => {
    if (due !== null) return;
    const wait = Math.max(0, last + milliseconds - performance.now());
    due = setTimeout(() => { due = null; last = performance.now(); call(); }, wait);
  };
}

export const dollars = (amount) => `$${amount.toFixed(amount !== 0 && amount < 0.1 ? 3 : 2)}`;
export const seconds = (amount) => (amount < 10 ? `${amount.toFixed(1)} s` : `${Math.round(amount)} s`);
