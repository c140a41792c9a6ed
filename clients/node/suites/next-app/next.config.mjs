import { fileURLToPath } from 'node:url';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));

export default {
  distDir: process.env.NEXT_DIST_DIR ?? '.next',
  cacheComponents: true,
  cacheHandlers: { default: path('./handlers/use-cache.mjs') },
  cacheHandler: path('./handlers/incremental.mjs'),
  // Pages are kept by the handler, so that all processes have the same.
  cacheMaxMemorySize: 0,
  turbopack: { root: path('..') },
};
