// A panel of code that is really what this page runs. The line that just ran
// is lit; below it stands what it received.

import { copy, h, setText } from './dom.js';
import { icons } from './signs.js';
import { say } from './strings.js';

const TOKEN = /('(?:[^'\\]|\\.)*')|\b(import|from|const|new|await)\b|([^']+?(?='|\b(?:import|from|const|new|await)\b|$))/gy;

/** Splits a line into `[kind, text]`: text, word, plain. Enough for ten lines of ours. */
export function colour(line) {
  const out = [];
  for (const [, text, word, plain] of line.matchAll(TOKEN)) out.push(text ? ['text', text] : word ? ['word', word] : ['plain', plain]);
  return out;
}

/** Makes the panel; `lines` is the code, `aside` what stands at the right of its head (or a copy button). */
export function codePanel({ id, title, lines, label, aside, children = [] }) {
  const rows = lines.map((line, i) => h('li', { class: 'line', data: { line: i + 1 } },
    h('code', {}, ...(line ? colour(line).map(([kind, t]) => (kind === 'plain' ? document.createTextNode(t) : h('span', { class: `c-${kind}`, text: t }))) : [' ']))));
  const right = aside ? h('span', { class: 'aside', text: aside }) : copyButton(lines.join('\n'));
  const el = h('section', { class: 'panel code', 'aria-labelledby': id },
    h('header', {}, h('h2', { id, text: title }), right),
    h('div', { class: 'scroll lines', tabindex: '0', role: 'region', 'aria-label': label }, h('ol', { class: 'mono' }, ...rows)),
    ...children);
  return {
    el,
    /** Lights a line for a moment in the tone of what it did. */
    ran(n, tone = 'join') {
      const row = rows[n - 1];
      row.dataset.tone = tone;
      row.animate([{ opacity: 1 }, { opacity: 1, offset: 0.6 }, { opacity: 0 }], { duration: 1200, pseudoElement: '::before' });
    },
  };
}

function copyButton(text) {
  const word = h('span', { text: say('copy') });
  return h('button', {
    class: 'quiet', type: 'button',
    on: {
      click: async () => {
        await copy(text);
        setText(word, say('copied'));
        setTimeout(() => setText(word, say('copy')), 2000);
      },
    },
  }, icons.copy(), word);
}

/** A command in one line that a click copies. */
export function command(text) {
  const el = h('button', { class: 'quiet mono command', type: 'button', 'aria-label': say('copyCommand', { command: text }) }, h('span', { text }), icons.copy());
  el.addEventListener('click', async () => {
    await copy(text);
    el.dataset.copied = say('copied');
    setTimeout(() => delete el.dataset.copied, 2000);
  });
  return el;
}
