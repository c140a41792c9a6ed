// The client of the cache, and reads of the entries that all services share.
//
// A user, a company and the points of a user have the same namespace, key and JSON in every
// service, so that one query serves all of them: see common/cache.py.

import { Client } from 'larder-cache';

import { cacheEnabled } from './settings.js';

/**
 * The client of this process. It connects at its first call, to LARDER_ENDPOINT. Changes must not
 * fail because an invalidation takes a while; reads have limits of their own.
 */
export const client = new Client({ callTimeout: '2s' });

/** Namespaces. Their TTLs are in the configuration of the fleet: see larder.toml. */
export const users = client.namespace('user');
export const companies = client.namespace('company');
export const points = client.namespace('points');

/** Answers with an entry. If it is missing, one query in the whole fleet makes it. */
export async function answer(response, namespace, key, query) {
  let document;
  let cache = 'BYPASS';
  if (cacheEnabled) {
    const result = await namespace.getOrFetch(key, query);
    document = result.value;
    cache = result.tier === 'loader' ? 'MISS' : result.outcome;
  } else {
    document = await query();
  }
  response.set('x-cache', cache);
  // That there is none is cached, too: null is a value.
  if (document === null) response.status(404).json({ error: 'not found' });
  else response.json(document);
}
