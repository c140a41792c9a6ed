import { test } from '@japa/runner';
import { registerCacheDriverTestSuite } from 'bentocache/test_suite';
import { larderDriver } from 'larder-cache/bentocache';

const client = globalThis.larderClient;

test.group('larder', (group) => {
  registerCacheDriverTestSuite({
    test,
    group,
    createDriver: (options) => larderDriver({ client }).factory({ client, ...options }),
  });
});
