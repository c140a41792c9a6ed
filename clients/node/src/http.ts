export { HttpCache, type Answer, type Exchange } from './http/engine.js';
export { addCacheTags, type HttpCacheOptions, type HttpCacheRules } from './http/options.js';
