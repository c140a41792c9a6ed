// The Express service: `node server.js`. Users, companies and points, which it shares with the
// Python services, and the support.

import express from 'express';

import { client } from './cache.js';
import { login } from './login.js';
import { port } from './settings.js';
import { shared } from './shared.js';
import { support } from './support.js';

const app = express();
app.disable('x-powered-by');
app.use(express.json());
app.use(login);
app.use(shared);
app.use(support);

// Errors as JSON. An error handler of Express has four parameters.
app.use((error, _request, response, _next) => {
  const status = error.status ?? 500;
  if (status >= 500) console.error(error);
  response.status(status).json({ error: status >= 500 ? 'internal error' : error.message });
});

const server = app.listen(port, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
// The gateway before the services keeps its connections for a minute.
server.keepAliveTimeout = 75_000;

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(() => client.close());
    server.closeIdleConnections();
  });
}
