// What this tab can do: pull the cable, change its status, leave or join. Each
// button stays where it is whatever it says, so that nothing moves under the hand.

import { h, setText, show } from '../dom.js';
import { icons } from '../signs.js';
import { command } from '../code.js';
import { say } from '../strings.js';

/** `act` holds `cable`, `update(text)`, `membership`; `pid` is the node's process, if known. */
export function actions(act, { pid, status }) {
  // Both words are in the button, one hidden: its width is that of the longer.
  const pull = h('span', { text: say('pull') }), plug = h('span', { class: 'off', text: say('plug') });
  const cable = h('button', { class: 'button cable', type: 'button', on: { click: act.cable } }, icons.cable(), h('span', { class: 'either' }, pull, plug));
  const field = h('input', { id: 'status', name: 'status', maxlength: '200', autocomplete: 'off', placeholder: say('statusHint'), value: status, dir: 'auto' });
  const update = h('button', { class: 'button', type: 'submit', text: say('update') });
  const form = h('form', { class: 'field', on: { submit: (e) => { e.preventDefault(); act.update(field.value); } } },
    h('label', { class: 'vh', for: 'status', text: say('status') }), field, update);
  const join = h('span', { text: say('join') }), leave = h('span', { class: 'off', text: say('leave') });
  const membership = h('button', { class: 'button membership', type: 'button', on: { click: act.membership } }, h('span', { class: 'either' }, join, leave));
  const kill = pid ? h('p', { class: 'kill' }, h('span', { text: say('orKill') }), ' ', command(say('kill', { pid: String(pid) }))) : null;
  const el = h('section', { class: 'actions', 'aria-label': say('actions') }, cable, form, membership, kill);

  const either = (one, other, first) => {
    for (const [word, on] of [[one, first], [other, !first]]) {
      word.classList.toggle('off', !on);
      word.setAttribute('aria-hidden', String(!on));
    }
  };
  return {
    el,
    get status() { return field.value; },
    draw(s) {
      const { phase } = s.link;
      either(pull, plug, !s.cableOut);
      either(join, leave, !s.member);
      // The one thing to do next is the filled button.
      const main = s.cableOut ? cable : phase === 'live' && s.ready && !s.member ? membership : cable;
      cable.classList.toggle('primary', main === cable);
      membership.classList.toggle('primary', main === membership);
      const live = phase === 'live' && s.ready;
      disable(cable, phase === 'connecting' || phase === 'refused');
      disable(membership, !live || s.busy);
      disable(update, !live || !s.member);
      if (!kill) return;
      // Without grace a node that dies takes its members with it: nothing to show yet.
      show(kill, s.graceMs > 0);
      kill.classList.toggle('off', !live);
    },
  };
}

/** aria-disabled keeps the button in the tab order and its focus where it is. */
function disable(button, off) {
  button.setAttribute('aria-disabled', String(off));
}
