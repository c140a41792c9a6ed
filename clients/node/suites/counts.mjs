// Prints how many tests passed, failed and were skipped: counts.mjs RUNNER RESULTS
import { readFileSync } from 'node:fs';

const [runner, file] = process.argv.slice(2);
const results = JSON.parse(readFileSync(file, 'utf8'));
if (runner === 'vitest') {
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests } = results;
  // A file that cannot be loaded has no tests, but has failed.
  const broken = results.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && assertionResults.length === 0,
  ).length;
  console.log(numPassedTests, numFailedTests + broken, numPendingTests + numTodoTests);
} else {
  const { passed, failed, skipped } = results;
  console.log(passed, failed, skipped);
}
