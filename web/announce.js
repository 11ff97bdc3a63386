// What is read aloud about others: joins and leaves, gathered so that a busy
// room does not talk without end. Updates, positions and countdowns never are.

import { h } from './dom.js';
import { say } from './strings.js';

const FIRST = 1000; // after the first change: those who come together are told together
const PAUSE = 5000; // between two texts

/** A hidden place for texts that a screen reader speaks when they change. */
export function voice() {
  const el = h('div', { class: 'vh', role: 'status' });
  return { el, speak(text) { el.textContent = text; } };
}

/** Gathers joins and leaves. `here()` is how many are in the room at that moment. */
export class Announcer {
  enabled = true;
  #voice; #here; #joined = []; #left = []; #timer = null; #last = -Infinity;

  constructor(voice, here) {
    this.#voice = voice;
    this.#here = here;
  }

  joined(name) { this.#note(this.#joined, name); }
  left(name) { this.#note(this.#left, name); }

  #note(list, name) {
    if (!this.enabled) return;
    list.push(name);
    this.#timer ??= setTimeout(() => this.#speak(), Math.max(FIRST, this.#last + PAUSE - performance.now()));
  }

  #speak() {
    this.#timer = null;
    this.#last = performance.now();
    const joined = this.#joined.splice(0), left = this.#left.splice(0);
    this.#voice.speak(summary(joined, left, this.#here()));
  }
}

/** Up to two names, more as a sum. */
export function summary(joined, left, here) {
  const one = [...joined.map((name) => say('saidJoined', { name })), ...left.map((name) => say('saidLeft', { name }))];
  if (one.length === 1) return one[0];
  if (one.length === 2) return say('saidTogether', { first: one[0], second: one[1] });
  return say('saidSum', { joined: joined.length, left: left.length, here });
}
