// The start: the header that is always there, and the view that the address names.

import { logout, now, whenUnknown } from './api.js';
import { mark, text } from './dom.js';
import { unrepaired } from './show.js';
import { begin, hear, site } from './site.js';
import { lang, locale, setZone, span, speak, t } from './words.js';

// What the address names → its file. Fetched when it is first looked at.
const VIEWS = { '': 'home', tickets: 'tickets', ticket: 'ticket', device: 'device', doors: 'doors', heat: 'heat', events: 'events' };
const SLOW_MS = 300;
const TABS = { ticket: 'tickets', device: 'home' };

const $ = id => document.getElementById(id);
const main = $('main');
// `fresh`: somebody has just logged in.
let view = null, turn = 0, locked = false, fresh = false, version = null;

/** `#/ticket/ID?a=b` → view, `{id, query}`. */
function address() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const [first, ...rest] = path.split('/');
  return { name: VIEWS[first], id: rest.length ? decoded(rest.join('/')) : null, query: new URLSearchParams(query || '') };
}

function decoded(word) { try { return decodeURIComponent(word); } catch { return word; } }

async function go(arrived) {
  const mine = ++turn;
  const { name, id, query } = address();
  leave();
  const file = locked ? 'login' : name;
  for (const tab of document.querySelectorAll('[data-tab]')) {
    mark(tab, 'aria-current', !locked && tab.dataset.tab === (TABS[name] || name) ? 'page' : null);
  }
  if (!locked && !site.loaded) { if (site.fault) fault(t('not-read', { why: site.fault.message })); return; }
  // What was left is no longer live: on a slow network it must not stand there as if it were.
  const slow = setTimeout(() => { if (mine === turn) say(t('loading'), 'empty', 'status'); }, SLOW_MS);
  const module = await viewIn(file, mine);
  clearTimeout(slow);
  if (mine !== turn || !module) return;
  try {
    // A new place for each: what a view that was left still does, it does out of sight.
    const root = document.createElement('div');
    root.className = 'view view-' + file;
    root.dataset.view = file;
    main.replaceChildren(root);
    const args = { id, query, entered };
    const begun = await module.show(root, args, site);
    if (mine !== turn) { begun.end(); return; }
    view = begun;
    title();
    if (arrived) arrive(root);
  } catch (error) {
    if (mine !== turn) return;
    console.warn(error);
    fault(t('not-read', { why: error.message }));
  }
}

async function viewIn(file, mine) {
  try {
    if (!file) throw new Error(location.hash);
    return await import(`./views/${file}.js`);
  } catch (error) {
    console.warn(error);
    if (mine === turn) fault(file ? t('no-file') : t('no-view', { why: error.message }));
    return null;
  }
}

function leave() {
  if (view) { try { view.end(); } catch (error) { console.error(error); } }
  view = null;
}

function fault(words) { say(words, 'empty wrong', 'alert'); }

function say(words, kind, role) {
  const line = document.createElement('p');
  line.className = kind;
  line.setAttribute('role', role);
  line.textContent = words;
  main.replaceChildren(line);
}

/** Who listens rather than looks is told where they are now. */
function arrive(root) {
  scrollTo(0, 0);
  const head = root.querySelector('h1');
  if (head && !root.contains(document.activeElement)) head.focus({ preventScroll: true });
}

function title() {
  const head = main.querySelector('h1');
  const name = site.info ? site.info.name || site.info.gateway : 'gatehouse';
  const words = head && head.textContent !== name ? `${head.textContent} · ${name}` : name;
  if (document.title !== words) document.title = words;
}

// ---- the header ----

function header() {
  const { info, link } = site;
  mark(document.documentElement, 'data-link', link.state);
  mark(document.documentElement, 'data-role', info && info.role);
  text($('link'), locked ? '' : t(link.state === 'unknown' ? 'waiting' : link.state));
  if (info) {
    version ??= info.version;
    setZone(info.timezone);
    text($('name'), info.name || info.gateway);
    // Of a gateway that cannot be heard nobody knows how it is.
    const ready = link.state === 'live' ? info.ready : 'unknown';
    text($('ready'), locked ? '' : t(ready === 'unknown' ? 'state-unknown' : ready));
    mark($('ready'), 'data-state', ready);
    mark($('ready'), 'title', (info.troubles || []).join('\n') || null);
    // Whose session has ended is nobody here.
    const who = locked ? [] : [info.by, t('role-' + info.role)].filter(Boolean);
    text($('who'), who.join(' · '));
    text($('foot'), ['gatehouse ' + info.version, info.timezone, ...who].filter(Boolean).join(' · '));
    $('logout').hidden = locked || !info.by;
  }
  lost();
  count();
  title();
}

/** How old is what stands there. */
function lost() {
  const { link } = site;
  const away = link.state === 'lost';
  const words = !away ? '' : link.why === 503 ? t('full') : link.heard ? t('lost-long', { span: span(Date.now() - link.heard) }) : t('lost-never');
  text($('lost'), words);
  $('lost').hidden = !away;
}

function count() {
  const open = [...site.tickets.values()].filter(unrepaired).length;
  text($('open-count'), String(open));
  for (const name of ['title', 'aria-label']) mark($('open-count'), name, t('n-unrepaired', { n: open }));
  $('open-count').hidden = locked || !open;
}

function words() {
  document.documentElement.lang = locale();
  for (const node of document.querySelectorAll('[data-t]')) text(node, t(node.dataset.t));
  for (const node of document.querySelectorAll('[data-t-label]')) node.setAttribute('aria-label', t(node.dataset.tLabel));
  text($('lang'), t('other'));
  mark($('lang'), 'lang', lang() === 'zh' ? 'en' : 'zh-CN');
}

// ---- who is here ----

function entered() {
  locked = false;
  site.loaded = false;
  leave();
  fresh = true;
  begin();
}

function lock() {
  if (locked) return;
  locked = true;
  header();
  go(true);
}

whenUnknown(lock);

hear(change => {
  if (change.kind === 'link' && site.link.state === 'unknown') lock();
  if (change.kind === 'all' && !view) { header(); go(fresh); fresh = false; return; }
  if (change.kind === 'link' && site.fault && !site.loaded && !locked) go(false);
  header();
  if (change.kind === 'ticket' && change.event) announce(change);
  if (view) view.live(change);
});

function announce({ ticket, event }) {
  const news = ['gatehouse.ticket.opened', 'gatehouse.ticket.reopened'].includes(event.type);
  if (news && ticket.level === 1) text($('urgent'), t('urgent-new', { title: ticket.title }));
}

$('lang').addEventListener('click', () => { speak(lang() === 'zh' ? 'en' : 'zh'); words(); header(); go(false); });
$('logout').addEventListener('click', async () => {
  try { await logout(); } catch (error) { console.warn(error); }
  location.hash = '#/';
  location.reload();
});
document.querySelector('.skip').addEventListener('click', event => { event.preventDefault(); main.focus(); });
// Files of two versions do not go together.
addEventListener('hashchange', () => { if (site.info && site.info.version !== version) location.reload(); else go(true); });
setInterval(() => { if (!document.hidden) { lost(); if (view && view.tick) view.tick(now()); } }, 1000);
words();
header();
begin();
