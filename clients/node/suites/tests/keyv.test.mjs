// The suite of Keyv for storage adapters.
import keyvTestSuite from '@keyv/test-suite';
import Keyv from 'keyv';
import { LarderStore } from 'larder-cache/keyv';
import { Client } from 'larder-cache';
import * as test from 'vitest';

const client = new Client({ preset: 'local' });
test.afterAll(() => client.close());

keyvTestSuite(test, Keyv, () => new LarderStore({ client }));
