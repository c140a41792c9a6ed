/** For tests: the real server on a free port. */
export { LarderServer, type LarderServerOptions } from './fake/server.js';
