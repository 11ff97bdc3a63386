// Shows JSON exactly as it came: the text is coloured and broken into lines,
// never parsed and written again, so 0.00 stays 0.00 and 1e3 stays 1e3.

import { h } from '../dom.js';

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g;
const WIDE = 56; // characters a line

/** The body of an event frame, as text: `{"type":"…","body":HERE}`. */
export function bodyOf(frame) {
  const at = frame.indexOf('"body":');
  return at < 0 ? frame : frame.slice(at + 7, frame.lastIndexOf('}'));
}

/** Splits JSON text into `[kind, text]`: key, text, number, word, mark. White space goes. */
export function tokens(json) {
  const list = json.match(TOKEN) ?? [];
  return list.map((t, i) => [t[0] === '"' ? (list[i + 1] === ':' ? 'key' : 'text') : /[-\d]/.test(t[0]) ? 'number' : /[a-z]/.test(t[0]) ? 'word' : 'mark', t]);
}

/**
 * The same tokens with white space between them: one line while it fits, the
 * fields of the outermost object or list from line to line after that.
 */
export function layout(list) {
  const out = [];
  let depth = 0, width = 0;
  const space = (text) => out.push(['space', text]);
  for (let i = 0; i < list.length; i++) {
    const [kind, t] = list[i];
    const before = list[i - 1]?.[1];
    if (t === '}' || t === ']') depth--;
    if (depth === 1 && before === ',' && width + fieldWidth(list, i) > WIDE) {
      space('\n  ');
      width = 2;
    } else if (before === ',' || before === ':' || (before === '{' && t !== '}') || (t === '}' && before !== '{')) {
      space(' ');
      width++;
    }
    out.push([kind, t]);
    width += t.length;
    if (t === '{' || t === '[') depth++;
  }
  return out;
}

/** How wide the field that begins at `from` is, up to the comma after it. */
function fieldWidth(list, from) {
  let depth = 0, width = 0;
  for (let i = from; i < list.length; i++) {
    const t = list[i][1];
    if (t === '{' || t === '[') depth++;
    if (t === '}' || t === ']') depth--;
    if (depth < 0) break;
    width += t.length + (t === ':' || t === ',' || t === '{' || t === '}' ? 1 : 0);
    if (depth === 0 && t === ',') break;
  }
  return width;
}

/** The JSON as an element's children. */
export function pretty(json) {
  return layout(tokens(json)).map(([kind, t]) => (kind === 'space' || kind === 'mark' ? document.createTextNode(t) : h('span', { class: `j-${kind}`, text: t })));
}
