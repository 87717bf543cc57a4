// What is known of the compound now, read once and kept true by the stream. Views read the maps and hear of changes.

import { get } from './api.js';
import { listen } from './live.js';

const UNCLOSED = 'open,acknowledged,in_progress,resolved';
const EVENTS_MAX = 500;
const SUMMARIES_MAX = 100;
const TICKETS_MAX = 2000;
// Messages that may wait while all is read anew; beyond, it is read once more.
const WAITING_MAX = 5000;

export const site = {
  info: null, devices: new Map(), points: new Map(), tickets: new Map(), lines: [], consumers: [],
  /** The newest first, at most 500, and 100 summaries of readings. */
  events: [],
  /** waiting | live | lost | unknown; since when, and when anything was last heard (this device's clock). */
  link: { state: 'waiting', since: Date.now(), heard: null, why: null },
  loaded: false,
  /** Why it could not be read, until it can. */
  fault: null,
};

const ears = new Set();
let stream = null, waiting = null, again = false, later = null, seen = null;

/** `change` is `{kind: 'site'|'device'|'points'|'ticket'|'journal'|'lines'|'consumers'|'all'|'link', …}`. */
export function hear(ear) { ears.add(ear); return () => ears.delete(ear); }
function tell(change) { for (const ear of ears) { try { ear(change); } catch (error) { console.error(error); } } }

/** Begins, or goes on after a login. */
export function begin() {
  if (stream) stream.end();
  stream = listen(told, link);
}

/** Points whose readings come as they change: globs, as `pump-1.*`. */
site.watch = globs => { if (stream) stream.want([...globs].sort()); };
site.hear = hear;

function link(state, why) {
  const before = site.link.state;
  if (state === 'live') {
    site.link.heard = Date.now();
    // What happened meanwhile is in none of the messages to come.
    if (before !== 'live' || !site.loaded) load();
  }
  if (state === before) return;
  site.link = { ...site.link, state, why, since: Date.now() };
  tell({ kind: 'link' });
}

async function load() {
  if (waiting) { again = true; return; }
  waiting = [];
  clearTimeout(later);
  try {
    // First, so that all the rest is at least as new as its head: from there the stream can go on.
    const info = await get('site');
    const [devices, points, tickets, lines, consumers] = await Promise.all([
      get('devices'), get('points'), unclosed(), get('lines'), get('consumers'), recent(info.head)]);
    site.info = info;
    site.devices = new Map(devices.devices.map(row => [row.id, row]));
    site.points = new Map(points.points.map(row => [row.id, row]));
    site.tickets = new Map(tickets.map(row => [row.id, row]));
    site.lines = lines.lines;
    site.consumers = consumers.consumers;
    stream.from(info.head);
    site.loaded = true;
    site.fault = null;
    tell({ kind: 'all' });
  } catch (error) {
    site.fault = error;
    if (error.status !== 401) later = setTimeout(load, 3000);
    tell({ kind: 'link' });
  } finally {
    const late = waiting;
    waiting = null;
    if (site.loaded) for (const [event, body, id] of late) take(event, body, id);
    if (again) { again = false; load(); }
  }
}

async function unclosed() {
  const all = [];
  let after = '';
  do {
    const part = await get(`tickets?state=${UNCLOSED}&limit=1000${after && '&after=' + encodeURIComponent(after)}`);
    all.push(...part.tickets);
    after = part.next;
  } while (after && all.length < TICKETS_MAX);
  return all;
}

/** The last of the journal, so that nobody looks at an empty list of events. */
async function recent(head) {
  const [epoch, last] = split(head);
  if (!epoch || (site.events.length && seen && seen.epoch === epoch && seen.seq >= last)) return;
  try {
    const from = Math.max(0, last - 200);
    const { events } = await get(`events?after=${epoch}.${from}&limit=1000`);
    site.events = events.reverse().slice(0, EVENTS_MAX);
    seen = { epoch, seq: Math.max(last, ...events.map(seqOf)) };
  } catch (error) {
    // What is older is no longer kept: it begins with what comes.
    if (error.status !== 410 && error.status !== 409) throw error;
    seen = { epoch, seq: last };
  }
}

const split = cursor => { const at = String(cursor).lastIndexOf('.'); return [String(cursor).slice(0, Math.max(at, 0)), Number(String(cursor).slice(at + 1))]; };
const seqOf = event => Number(event.sequence);
const epochOf = event => event.id.split('/').at(-2);

function told(event, body, id) {
  site.link.heard = Date.now();
  if (waiting) {
    if (waiting.length < WAITING_MAX) waiting.push([event, body, id]);
    else again = true;
    return;
  }
  take(event, body, id);
}

function take(event, body) {
  if (event === 'site') siteNow(body);
  else if (event === 'device') { site.devices.set(body.id, body); tell({ kind: 'device', device: body }); }
  else if (event === 'points') {
    for (const row of body.points) site.points.set(row.id, row);
    tell({ kind: 'points', points: body.points });
  } else if (event === 'journal') journal(body);
  else if (event === 'lines') { site.lines = body.lines; tell({ kind: 'lines' }); }
  // The journal has gone on without this stream.
  else if (event === 'reset') load();
  else if (event === 'consumers') { site.consumers = body.consumers; tell({ kind: 'consumers' }); }
}

function siteNow(body) {
  const other = site.info && (site.info.epoch !== body.epoch || site.info.version !== body.version);
  site.info = body;
  tell({ kind: 'site' });
  if (other) load();
}

/** Summaries of readings come by the hundred, and must not crowd out what happened. */
function keep(event) {
  const isSummary = one => one.type === 'gatehouse.readings.summary';
  const like = isSummary(event);
  site.events.unshift(event);
  const alike = site.events.filter(one => isSummary(one) === like);
  if (alike.length > (like ? SUMMARIES_MAX : EVENTS_MAX)) site.events.splice(site.events.lastIndexOf(alike.at(-1)), 1);
}

function journal(event) {
  // Told again, it changes nothing: a ticket has its revision.
  if (event.data && event.type.startsWith('gatehouse.ticket.')) ticketNow(event.data, event);
  const epoch = epochOf(event), seq = seqOf(event);
  if (seen && seen.epoch === epoch && seq <= seen.seq) return;
  seen = { epoch, seq };
  keep(event);
  // Devices may have come and gone with it.
  if (event.type === 'gatehouse.gateway.config-changed') load();
  tell({ kind: 'journal', event });
}

/** A ticket as an answer or an event has it; an older revision changes nothing. The event of what was answered comes after it. */
export function ticketNow(ticket, event) {
  const before = site.tickets.get(ticket.id);
  if (before && before.revision > ticket.revision) return;
  if (ticket.state === 'closed') site.tickets.delete(ticket.id);
  else site.tickets.set(ticket.id, ticket);
  tell({ kind: 'ticket', ticket, event: event || null });
}
