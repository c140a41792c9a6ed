// Messages to the support, subscription and usage: whole answers in the cache, one for each user.

import { Router } from 'express';
import { larderCache } from 'larder-cache/express';

import { client } from './cache.js';
import { change, query } from './database.js';
import { cacheEnabled } from './settings.js';

export const support = Router();

/** Middleware that answers from the cache. It stands after `login`. */
const cache = larderCache({
  client,
  namespace: 'support',
  ttl: '5m',
  cacheByUser: (request) => request.user.id,
  // The tag of all messages of a user.
  tags: (request) => [`user:${request.user.id}`],
  varyOrigin: false,
  skip: () => !cacheEnabled,
});

support.get('/api/v1/support/conversations', cache, async (request, response) => {
  response.json(await query('conversations', { user_id: request.user.id }));
});

/** A new message: the conversations of the user are old. */
support.post('/api/v1/support/conversations', async (request, response) => {
  const { id } = request.user;
  const body = String(request.body?.body ?? '');
  const [added] = change('add_message', { user_id: id, body });
  await cache.invalidateTags(`user:${id}`);
  response.json(added);
});

const forAnHour = cache.with({ ttl: '1h', tags: [] });

support.get('/api/v1/subscription', forAnHour, async (request, response) => {
  response.json(await query('subscription', { user_id: request.user.id }));
});

support.get('/api/v1/usage', cache.with({ tags: [] }), async (request, response) => {
  response.json(await query('usage', { user_id: request.user.id }));
});
