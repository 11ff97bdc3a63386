// The few ways in which this page touches the document. Text goes in as text
// nodes only: a name such as "<img onerror>" is shown, never parsed.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Makes an element. `props` may hold `class`, `text`, `data` (a map), `on` (a
 * map of listeners) and any attribute; false, null and undefined leave it out.
 */
export function h(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

/** Makes an SVG element; the same props as {@link h}. */
export function svg(tag, props = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), props, children);
}

function dress(el, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === 'class') el.setAttribute('class', value);
    else if (key === 'text') el.textContent = value;
    else if (key === 'data') Object.assign(el.dataset, value);
    else if (key === 'on') for (const [type, fn] of Object.entries(value)) el.addEventListener(type, fn);
    else el.setAttribute(key, value === true ? '' : value);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

/** Sets text only when it differs, so that nothing is announced or painted twice. */
export function setText(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

/** Sets a custom property: positions and times reach the CSS this way. */
export function setVar(el, name, value) {
  if (el.style.getPropertyValue(name) !== String(value)) el.style.setProperty(name, value);
}

/**
 * A text that ends at a fixed place however long it is, or is centred on one:
 * it hangs there by a transform, so that it may change without shifting
 * anything. `set` changes it.
 */
export function pinned(props, where = 'end') {
  const text = h('span');
  const el = h('span', { ...props, class: `pin ${where} ${props.class ?? ''}` }, text);
  return { el, set: (value) => setText(text, value) };
}

/** Shows or hides without leaving the accessibility tree in doubt. */
export function show(el, visible) {
  if (el.hidden === visible) el.hidden = !visible;
}

/** Text for the ears only. */
export const spoken = (text) => h('span', { class: 'vh', text });

export const reducedMotion = () => matchMedia('(prefers-reduced-motion: reduce)').matches;
/** A pane of the side-by-side view is as narrow, but it is on a desk. */
export const phone = () => matchMedia('(max-width: 44.99em)').matches && document.documentElement.dataset.pane !== 'true';

/**
 * Returns a function that runs `draw` once before the next frame, however
 * often it is called. A hidden tab has no frames, so there it runs by a timer.
 */
export function onceAFrame(draw) {
  let waiting = false;
  const run = () => { waiting = false; draw(); };
  return () => {
    if (waiting) return;
    waiting = true;
    if (document.hidden) setTimeout(run, 100);
    else requestAnimationFrame(run);
  };
}

/** Puts text on the clipboard; on an address without https by a selection. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const box = h('textarea', { class: 'vh', 'aria-hidden': 'true', tabindex: '-1' });
    const before = document.activeElement;
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand('copy');
    box.remove();
    before?.focus();
  }
}
