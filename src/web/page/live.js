// The stream of what happens (server-sent events), begun again with growing pauses when it breaks.
//
// Read by fetch, not EventSource: that one tells no status (a session that ended, a gateway that is full), and cannot go on
// from a place in the journal under another address.

import { heard } from './api.js';

// A comment comes every 15 s: after twice that nobody is there, whatever TCP thinks.
const SILENCE = 32e3;
// Characters; a message of 500 points has a tenth of it.
const LINE_MAX = 2 ** 21;
const PAUSE_MIN = 500, PAUSE_MAX = 15e3;
// A view that goes and the next that comes are one wish.
const WISH_MS = 50;

/** `told(event, data, id)` for each message; `state(word, why)`: live, lost, unknown (no session). */
export function listen(told, state) {
  let cursor = null, points = [], asked = '', current = null, pause = PAUSE_MIN, timer = null, wish = null, ended = false;

  function open() {
    clearTimeout(timer);
    const abort = new AbortController();
    const before = current;
    current = abort;
    asked = points.join();
    // The one before goes on until this one speaks, and no longer than this one lives: streams and connections are few.
    const over = () => { if (before) before.abort(); };
    run(abort, over).catch(error => { over(); gone(abort, error); });
  }

  async function run(abort, begun) {
    const query = asked && '?points=' + encodeURIComponent(asked);
    const headers = { Accept: 'text/event-stream' };
    if (cursor) headers['Last-Event-ID'] = cursor;
    let watch = setTimeout(() => abort.abort(), SILENCE);
    try {
      const answer = await fetch('/api/v1/live' + query, { headers, cache: 'no-store', signal: abort.signal });
      heard(answer);
      if (!answer.ok) throw Object.assign(new Error('live: ' + answer.status), { status: answer.status });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const lines = splitter(message);
      let first = true;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error('ended');
        if (first) { first = false; begun(); pause = PAUSE_MIN; state('live'); }
        clearTimeout(watch);
        watch = setTimeout(() => abort.abort(), SILENCE);
        lines(value);
      }
    } finally { clearTimeout(watch); }
  }

  function message({ event, data, id }) {
    if (id) cursor = id;
    let body;
    try { body = JSON.parse(data); } catch { return; }
    // The place that was asked for is not there; it goes on from this one.
    if (event === 'reset') cursor = body.head;
    told(event, body, id);
  }

  function gone(abort, error) {
    // One that another has taken the place of.
    if (ended || abort !== current) return;
    current = null;
    if (error.status === 401) { state('unknown'); return; }
    // The place is of another epoch, or no longer kept: all is read anew anyway.
    if (error.status === 409 || error.status === 410) cursor = null;
    state('lost', error.status);
    timer = setTimeout(open, pause * (0.75 + Math.random() / 2));
    pause = Math.min(pause * 2, PAUSE_MAX);
  }

  const again = () => { if (!ended && !current) { pause = PAUSE_MIN; open(); } };
  addEventListener('online', again);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) again(); });
  open();
  return {
    /** Points whose readings are wanted: globs. */
    want(globs) {
      points = globs;
      clearTimeout(wish);
      // One that is about to begin asks for them itself.
      wish = setTimeout(() => { if (!ended && current && points.join() !== asked) open(); }, WISH_MS);
    },
    /** All before this cursor is known; where none came yet, it goes on from there. */
    from(place) { cursor ??= place; },
    again,
    end() { ended = true; clearTimeout(timer); clearTimeout(wish); if (current) current.abort(); },
  };
}

/** Pieces of text as they come → messages. */
function splitter(tell) {
  let rest = '', event = 'message', data = [], id = null;
  return piece => {
    if (rest.length > LINE_MAX) throw new Error('a line of the stream has no end');
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (data.length) tell({ event, data: data.join('\n'), id });
        event = 'message'; data = []; id = null;
        continue;
      }
      const colon = line.indexOf(':');
      if (colon === 0) continue;
      const name = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (name === 'event') event = value;
      else if (name === 'data') data.push(value);
      else if (name === 'id') id = value;
    }
  };
}
