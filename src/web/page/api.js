// Calls of the API: JSON in and out, a refusal as an Error with the gateway's own words.

import { t } from './words.js';

class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.status = status;
    this.detail = this.message;
    this.problem = problem;
  }
}

const PATIENCE = 20e3;
let onUnknown = () => {};
// Gateway's clock minus this device's, milliseconds: what is due is due by the gateway's.
let skew = 0;

/** Called when the gateway no longer knows who asks. */
export function whenUnknown(call) { onUnknown = call; }
export const now = () => Date.now() + skew;

export const get = (path, signal) => call('GET', path, undefined, signal);
export const post = (path, body) => call('POST', path, body ?? {});

export async function login(token) {
  await call('POST', 'session', { token }, undefined, true);
}

export async function logout() {
  await call('DELETE', 'session');
}

async function call(method, path, body, signal, quiet) {
  const limit = AbortSignal.timeout(PATIENCE);
  const headers = method === 'GET' ? {} : { 'X-Gatehouse': 'page', 'Content-Type': 'application/json' };
  let answer, said;
  try {
    answer = await fetch('/api/v1/' + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store',
      credentials: 'same-origin', signal: signal ? either(signal, limit) : limit,
    });
    heard(answer);
    said = await answer.text();
  } catch (cause) {
    // A browser has its own language, and says "Failed to fetch".
    throw new Error(t('no-answer'), { cause });
  }
  if (answer.ok) return said ? JSON.parse(said) : null;
  const refusal = new Refusal(answer.status, problem(said));
  if (answer.status === 401 && !quiet) onUnknown();
  throw refusal;
}

/** Phones of 2023 have no `AbortSignal.any`. */
function either(one, other) {
  if (AbortSignal.any) return AbortSignal.any([one, other]);
  const both = new AbortController();
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason);
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true });
  }
  return both.signal;
}

function problem(said) {
  try { return JSON.parse(said); } catch { return {}; }
}

/** `Date` has whole seconds: less than two of them say nothing. */
export function heard(answer) {
  const date = Date.parse(answer.headers.get('date') || '');
  if (!date) return;
  const off = date + 500 - Date.now();
  skew = Math.abs(off) < 2000 ? 0 : off;
}
