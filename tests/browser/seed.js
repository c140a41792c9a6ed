// Made-up counters of a week in Redis, for pictures: the buckets that replicas write.
import { once } from "node:events";
import { connect } from "node:net";

/** Reads per second, and the share of hits, of stale answers and of failed fetches. */
const NAMESPACES = [
  { name: "user", rate: 8400, hits: 0.972, latency: 4 },
  { name: "points", rate: 4100, hits: 0.814, latency: 5, fails: true },
  { name: "pickup", rate: 3000, hits: 0.889, latency: 4 },
  { name: "locations", rate: 2200, hits: 0.996, latency: 3 },
  { name: "statistics", rate: 910, hits: 0.43, latency: 5 },
  { name: "company", rate: 640, hits: 0.988, latency: 4 },
  { name: "drafts", rate: 75, hits: 0.083, latency: 4 },
];

const MINUTE = 60;
const BUCKETS = [
  { seconds: MINUTE, count: 60 },
  { seconds: 10 * MINUTE, count: 144 },
  { seconds: 60 * MINUTE, count: 168 },
];
/** Seconds before now in which an origin fails. */
const OUTAGE = { begin: 25 * MINUTE, end: 14 * MINUTE };

let state = 7;
/** The same numbers in each run. */
const random = () => (state = (state * 16807) % 2147483647) / 2147483647;

function counters(at, now, seconds) {
  const fields = new Map();
  const day = Math.sin(((at % 86400) / 86400) * 2 * Math.PI);
  for (const { name, rate, hits, latency, fails } of NAMESPACES) {
    const reads = rate * seconds * (1 + 0.25 * day + 0.06 * (random() - 0.5));
    const age = now - at;
    const isOut = fails && age < OUTAGE.begin && age > OUTAGE.end;
    const stale = reads * (isOut ? 0.12 : 0.01);
    const hit = reads * (isOut ? hits - 0.12 : hits - 0.01) * (1 + 0.01 * (random() - 0.5));
    const misses = Math.max(0, reads - hit - stale);
    const failed = isOut ? misses * 0.8 : 0;
    const counts = {
      hits: hit, stale, misses, sets: misses, fetches: fails ? misses - failed : 0,
      fetches_failed: failed, stale_if_error: isOut ? stale : 0,
      [`h${latency}`]: hit * 0.7, [`h${latency + 1}`]: hit * 0.27,
      [`h${latency + 2}`]: hit * 0.02, [`h${latency + 3 + (isOut ? 2 : 0)}`]: hit * 0.012,
      [fails ? "f11" : "c10"]: misses * 0.7, [fails ? "f12" : "c11"]: misses * 0.3,
    };
    for (const [counter, count] of Object.entries(counts)) {
      fields.set(`${name}|${counter}`, Math.round(count));
    }
  }
  return fields;
}

const command = (parts) =>
  `*${parts.length}\r\n${parts.map((part) => `$${Buffer.byteLength(`${part}`)}\r\n${part}\r\n`).join("")}`;

/** Writes the counters to the Redis at this port. */
export async function seed(port) {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const now = Date.now() / 1000;
  let sent = 0;
  const hset = (key, fields) => {
    socket.write(command(["HSET", key, ...[...fields].flat()]));
    sent += 1;
  };
  for (const { seconds, count } of BUCKETS) {
    const last = Math.floor(now / seconds);
    // A minute may end before the picture. Of longer steps, the last one has begun only.
    const end = seconds === MINUTE ? last + 2 : last + 1;
    for (let bucket = last - count; bucket < end; bucket++) {
      const counted = seconds === MINUTE ? seconds : Math.min(seconds, now - bucket * seconds);
      hset(`larder:{stats}:${seconds}s:${bucket}`, counters(bucket * seconds, now, counted));
    }
  }
  const total = counters(now - 86400, now, 30 * 86400);
  hset("larder:{stats}:total", total.set("since", Math.round((now - 30 * 86400) * 1000)));
  let replies = 0;
  while (replies < sent) {
    const [data] = await once(socket, "data");
    replies += data.toString().split("\r\n").length - 1;
  }
  socket.destroy();
}
