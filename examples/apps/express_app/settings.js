// The settings of the service, from its environment.

import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Off: each request runs its query, as before there was a cache. */
export const cacheEnabled = (process.env.CACHE_ENABLED ?? 'true').toLowerCase() === 'true';

/** The SQLite file. */
export const databaseFile = process.env.APP_DATABASE ?? `${root}app.db`;

/** Factor of all delays of queries: 0.1 makes them ten times faster. */
export const delayScale = Number(process.env.DELAY_SCALE ?? '1');

/** A file that gets a line for each query of a read, or none. */
export const queryLog = process.env.QUERY_LOG ?? '';

/** The port; 0 takes a free one. */
export const port = Number(process.env.PORT ?? '8003');
