// A Larder server with an origin and some data, on one of the stores.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const repository = resolve(import.meta.dirname, "../..");
export const binary = process.env.LARDER_BIN ?? join(repository, "target/debug/larder");
const START_LIMIT_MS = 20_000;

export const STORES = ["memory", "redis"];
export const TOKEN = "test-token-of-the-admin-port-0123456789";

/** Calls `probe` until it returns something. */
export async function eventually(what, probe, limit = START_LIMIT_MS) {
  const end = Date.now() + limit;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

async function startRedis(directory) {
  const port = await freePort();
  const settings = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory];
  const limits = ["--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru"];
  const redis = spawn("redis-server", [...settings, ...limits].map(String), { stdio: "ignore" });
  await eventually("redis-server starts", async () => {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await once(socket, "connect").then(() => true, () => false);
    socket.destroy();
    return isOpen;
  });
  return { port, url: `redis://127.0.0.1:${port}`, stop: () => redis.kill("SIGKILL") };
}

/** An origin that answers every key, or fails. */
async function startOrigin() {
  const state = { fails: false };
  const server = createHttpServer((request, response) => {
    response.statusCode = state.fails ? 503 : 200;
    response.setHeader("content-type", "application/json");
    response.setHeader("cache-control", "max-age=60");
    response.end(JSON.stringify({ path: request.url, points: 1200, history: [1, 2, 3] }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { state, url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

const configuration = (directory, origin, admin) => `
[admin]
${admin}
[audit]
to = "${join(directory, "audit.jsonl")}"
keys = "plain"
[defaults]
ttl = "1h"
[namespaces.user]
ttl = "1h"
stale_while_revalidate = "5m"
near_cache = {}
[namespaces.points]
ttl = "5m"
stale_if_error = "10m"
[namespaces.points.origin]
url = "${origin}/points/{key}"
timeout = "10s"
retries = 0
breaker_threshold = 5
[namespaces.points.origin.warm]
keys = ["1", "2", "3"]
[[events.user_changed]]
namespace = "user"
tags = ["user:{id}"]
`;

/** Starts a server. `admin`: further lines of its table. */
export async function startServer(store, { admin = "" } = {}) {
  const directory = mkdtempSync(join(tmpdir(), "larder-browser-"));
  const redis = store === "redis" ? await startRedis(directory) : undefined;
  const origin = await startOrigin();
  const config = join(directory, "larder.toml");
  writeFileSync(config, configuration(directory, origin.url, admin));
  const env = {
    PATH: process.env.PATH,
    LARDER_CONFIG: config,
    LARDER_STORE: redis?.url ?? "memory",
    LARDER_LOG__FORMAT: "json",
    // A busy machine must not look like an outage of the store.
    LARDER_STORE__TIMEOUT: "10s",
    LARDER_STORE__CONNECT_TIMEOUT: "10s",
  };
  let { child, serving } = await startProcess(env, join(directory, "log"));
  const end = async () => {
    child.kill("SIGTERM");
    if (child.exitCode === null) await once(child, "exit");
  };
  const cache = client("CacheService", serving.listen);
  const stop = async () => {
    cache.close();
    await end();
    redis?.stop();
    origin.stop();
    rmSync(directory, { recursive: true });
  };
  /** Stops the process, and starts another one at the same addresses. */
  const restart = async () => {
    await end();
    ({ child, serving } = await startProcess(env, join(directory, "log-2"), serving));
  };
  /** The records of the audit log. */
  const audit = () => {
    const lines = readFileSync(join(directory, "audit.jsonl"), "utf8").split("\n");
    return lines.filter(Boolean).map((line) => JSON.parse(line));
  };
  const url = `http://${serving.admin_listen}`;
  return { url, cache, origin: origin.state, store, stop, restart, audit };
}

const ANY_PORT = "127.0.0.1:0";

async function startProcess(env, log, { listen = ANY_PORT, admin_listen = ANY_PORT } = {}) {
  const addresses = { LARDER_LISTEN: listen, LARDER_ADMIN_LISTEN: admin_listen };
  const stdio = ["ignore", "ignore", openSync(log, "w")];
  const child = spawn(binary, [], { env: { ...env, ...addresses }, stdio });
  const serving = await eventually("the server starts", () => {
    const lines = readFileSync(log, "utf8").split("\n").filter(Boolean);
    if (child.exitCode !== null) throw new Error(`the server ended: ${lines.join("\n")}`);
    return lines.map((line) => JSON.parse(line).fields).find(({ message }) => message === "serving");
  });
  return { child, serving };
}

function client(service, address) {
  const definition = loadSync(`larder/v1/cache_service.proto`, {
    includeDirs: [join(repository, "proto")],
    keepCase: true,
    enums: String,
  });
  const Service = grpc.loadPackageDefinition(definition).larder.v1[service];
  const stub = new Service(address, grpc.credentials.createInsecure());
  const call = (method) => promisify(stub[method].bind(stub));
  return {
    set: (namespace, key, value, tags = []) =>
      call("Set")({ namespace, key, value: { json: JSON.stringify(value) }, tags }),
    get: (namespace, key) => call("Get")({ namespace, key }),
    fetch: (namespace, key) => call("GetOrFetch")({ namespace, key }),
    close: () => stub.close(),
  };
}

/** Entries, reads of them, and misses, in three namespaces. */
export async function fill({ cache }, rounds = 1) {
  for (let round = 0; round < rounds; round++) {
    const calls = [];
    for (let index = 0; index < 120; index++) {
      const user = `${4700 + (index % 24)}:profile`;
      calls.push(cache.set("user", user, { id: index, name: "Ada" }, [`user:${4700 + (index % 24)}`]));
      calls.push(cache.get("user", user), cache.get("user", user), cache.get("user", user));
      calls.push(cache.get("statistics", `daily:${round}:${index}`));
      calls.push(cache.fetch("points", `${index % 12}`));
    }
    for (let index = 0; index < 400; index++) calls.push(cache.get("user", "4711:profile"));
    // On a busy machine, an origin may take too long.
    await Promise.allSettled(calls);
  }
}
