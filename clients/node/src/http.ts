export { type Answer, HttpCache } from './http/engine.js';
export type { Exchange } from './http/lookup.js';
export { addCacheTags, type HttpCacheOptions, type HttpCacheRules } from './http/options.js';
