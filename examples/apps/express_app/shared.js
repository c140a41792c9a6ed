// Users, companies and points: entries that the Python services share.

import { Router } from 'express';

import { answer, client, companies, points, users } from './cache.js';
import { change, query } from './database.js';

export const shared = Router();

shared.get('/api/v1/auth/users/:id', async (request, response) => {
  const id = number(request.params.id);
  await answer(response, users, `${id}:account`, () => query('user', { user_id: id }));
});

shared.get('/api/v1/auth/profile', async (request, response) => {
  const { id } = request.user;
  await answer(response, users, `${id}:profile`, () => query('profile', { user_id: id }));
});

/** Invalidates all entries of the user by a pattern. */
shared.put('/users/:id/profile', async (request, response) => {
  const id = number(request.params.id);
  if (request.user.id !== id && request.user.role !== 'admin') {
    response.status(403).json({ error: 'only your own profile' });
    return;
  }
  const city = text(request.body, 'city');
  const [changed] = change('update_user', { user_id: id, city });
  if (changed !== undefined) await users.invalidate({ globs: [`${id}:*`] });
  sendChanged(response, changed);
});

shared.get('/companies', async (_request, response) => {
  await answer(response, companies, 'list', () => query('companies'));
});

shared.get('/companies/:id', async (request, response) => {
  const id = number(request.params.id);
  await answer(response, companies, `${id}:profile`, () => query('company', { company_id: id }));
});

/** Invalidates one key. */
shared.put('/companies/:id', async (request, response) => {
  const id = number(request.params.id);
  const phone = text(request.body, 'phone');
  const [changed] = change('update_company', { company_id: id, phone });
  if (changed !== undefined) await companies.invalidate({ keys: [`${id}:profile`] });
  sendChanged(response, changed);
});

shared.get('/points/balance', async (request, response) => {
  const { id } = request.user;
  await answer(response, points, `${id}:balance`, () => query('points', { user_id: id }));
});

/** The rules of the event are in the configuration of the fleet. */
shared.post('/points/redeem', async (request, response) => {
  const { id } = request.user;
  const redeemed = number(request.body?.points);
  const [changed] = change('redeem_points', { user_id: id, points: redeemed });
  if (changed !== undefined) await client.publishEvent('points_changed', { user_id: String(id) });
  sendChanged(response, changed);
});

function sendChanged(response, changed) {
  if (changed === undefined) response.status(404).json({ error: 'not found' });
  else response.json(changed);
}

function number(value) {
  const found = Number(value);
  if (Number.isSafeInteger(found) && found > 0) return found;
  throw badRequest(`${value} is not a number above 0`);
}

function text(body, name) {
  const value = body?.[name];
  if (typeof value === 'string') return value;
  throw badRequest(`${name} must be text`);
}

// Express answers errors with their status.
function badRequest(message) {
  return Object.assign(new Error(message), { status: 400 });
}
