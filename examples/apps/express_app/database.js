// The database: the same files of queries, changes and delays as those of the Python services.

import { appendFileSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseSync } from '@photostructure/sqlite';

import { databaseFile, delayScale, queryLog, root } from './settings.js';

const delays = JSON.parse(readFileSync(`${root}database/delays.json`, 'utf8'));
const database = new DatabaseSync(databaseFile);
database.exec('PRAGMA busy_timeout = 10000');
const statements = new Map();

/** The document of a query, or null if there is no row. Takes as long as its delay. */
export async function query(name, parameters = {}) {
  if (queryLog) appendFileSync(queryLog, `${(Date.now() / 1000).toFixed(3)} ${name}\n`);
  const [document] = run('queries', name, parameters);
  // The rows are read first: as with a real slow query, they can be old when it ends.
  await delay(delays[name] * delayScale);
  return document ?? null;
}

/** Applies a change, and returns the documents of the changed rows. It is durable on return. */
export function change(name, parameters = {}) {
  return run('changes', name, parameters);
}

function run(folder, name, parameters) {
  const path = `${root}database/${folder}/${name}.sql`;
  let statement = statements.get(path);
  if (statement === undefined) {
    statement = database.prepare(readFileSync(path, 'utf8'));
    statements.set(path, statement);
  }
  return statement.all(parameters).map((row) => JSON.parse(row.document));
}
