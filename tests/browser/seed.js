// A week of history for pictures: every step repeats a minute that was really counted, with a
// course over the day.
import { execFileSync } from "node:child_process";

const MINUTE = 60;
const DAY = 24 * 60 * MINUTE;
const BUCKETS = [
  { seconds: MINUTE, count: 60 },
  { seconds: 10 * MINUTE, count: 144 },
  { seconds: 60 * MINUTE, count: 168 },
];

let state = 7;
/** The same numbers in each run. */
const random = () => (state = (state * 16807) % 2147483647) / 2147483647;

const dayCourse = (seconds) => 1 + 0.25 * Math.sin(((seconds % DAY) / DAY) * 2 * Math.PI);

/** Writes the steps before the last minute that has ended to the Redis at this port. */
export function seed(port) {
  const run = (commands) =>
    execFileSync("redis-cli", ["-p", `${port}`], { input: `${commands.join("\n")}\n`, encoding: "utf8" });
  const now = Date.now() / 1000;
  const minute = Math.floor(now / MINUTE) - 1;
  const lines = run([`HGETALL larder:{stats}:60s:${minute}`]).trim().split("\n");
  const counted = lines.filter((_, index) => index % 2 === 0)
    .map((field, index) => [field, Number(lines[2 * index + 1])]);
  const fields = (factor) =>
    counted.map(([field, count]) => `"${field}" ${Math.round(count * factor)}`).join(" ");
  const commands = [];
  for (const { seconds, count } of BUCKETS) {
    const last = Math.floor(minute * MINUTE / seconds);
    for (let bucket = last - count; bucket < last; bucket++) {
      const day = dayCourse(bucket * seconds) / dayCourse(now);
      const factor = (seconds / MINUTE) * day * (0.97 + 0.06 * random());
      commands.push(`HSET larder:{stats}:${seconds}s:${bucket} ${fields(factor)}`);
    }
  }
  const since = Math.round((now - 8 * DAY) * 1000);
  commands.push(`HSET larder:{stats}:total ${fields(8 * DAY / MINUTE)} since ${since}`);
  run(commands);
}
