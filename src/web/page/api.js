// Calls of the API: JSON in and out, a refusal as an Error with the gateway's own words, and no answer with ours.

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
  const [answer, said] = await spoken('/api/v1/' + path, {
    method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store',
    credentials: 'same-origin', signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (answer.ok) return said ? JSON.parse(said) : null;
  const refusal = new Refusal(answer.status, problem(said));
  if (answer.status === 401 && !quiet) onUnknown();
  throw refusal;
}

/** The answer and its text. What a browser says where there is none is in its own words, and of use to nobody. */
async function spoken(url, asked) {
  try {
    const answer = await fetch(url, asked);
    heard(answer);
    return [answer, await answer.text()];
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error(t(error.name === 'TimeoutError' ? 'unanswered' : 'unreached'), { cause: error });
  }
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
