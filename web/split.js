// Side by side: this page twice, each pane's socket on another node. The panes
// share nothing but the server; there is no channel between them.

import { h } from './dom.js';
import { icons } from './signs.js';
import { say } from './strings.js';

export function splitView(main, page) {
  const [one, two] = [page.target, page.other ?? page.target];
  const pane = (name, node, id) => h('iframe', {
    id, title: node ? say('pane', { name, node: node.id }) : say('paneAny', { name }),
    src: page.link({ view: 'room', pane: '1', name, node: node.id }),
  });
  const second = h('a', { class: 'button primary', href: page.otherHref, target: '_blank', rel: 'noopener' },
    h('span', { text: say('openSecond', { name: page.next, node: two.id }) }), icons.out());
  main.append(
    h('section', { class: 'panes', 'aria-labelledby': 'h-split' }, h('h2', { class: 'vh', id: 'h-split', text: say('split') }), pane(page.name, one, 'pane-one'), pane(page.next, two, 'pane-two')),
    h('section', { class: 'narrow card', 'aria-label': say('split') }, h('p', { text: say('tooNarrow') }), second));
}
