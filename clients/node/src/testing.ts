/** For tests: a fake in the process, and the real server on a free port. */
export { FakeLarder, type FakeFailure, type FakeLarderOptions } from './fake/larder.js';
export type { FakeEvent, FakeRule } from './fake/rules.js';
export type { FakeNamespace } from './fake/store.js';
export { LarderServer, type LarderServerOptions } from './fake/server.js';
