import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { HttpCache } from './http/engine.js';
import type { HttpCacheOptions, HttpCacheRules } from './http/options.js';

export { addCacheTags } from './http/options.js';

/** Rules for one route, in its `config.larder`; false: the route is not cached. */
export type LarderRouteConfig = HttpCacheRules<FastifyRequest> | boolean;
/** Options of {@link larderCache}. */
export interface LarderCacheOptions extends HttpCacheOptions<FastifyRequest> {
  /** Cache only routes with `config.larder`. Off by default. */
  onlyConfigured?: boolean;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Rules of larder-cache for this route; false: the route is not cached. */
    larder?: LarderRouteConfig;
  }
  interface FastifyInstance {
    /** The cache of answers. */
    larderCache: Pick<HttpCache<FastifyRequest>, 'purge' | 'invalidateTags'>;
  }
}

/**
 * Plugin for Fastify 5 that caches answers: `app.register(larderCache, { client, ttl: '5m' })`.
 *
 * It works in the hook `preHandler`, after those that were added before it. A request never fails
 * because of its cache.
 */
export async function larderCache(
  app: FastifyInstance,
  options: LarderCacheOptions,
): Promise<void> {
  const cache = new HttpCache<FastifyRequest>(options);
  app.decorate('larderCache', {
    purge: (path: string) => cache.purge(path),
    invalidateTags: (...tags: string[]) => cache.invalidateTags(...tags),
  });
  app.addHook('preHandler', async (request: FastifyRequest, reply: FastifyReply) => {
    const { larder } = request.routeOptions.config;
    if (larder === false || (options.onlyConfigured && larder === undefined)) return undefined;
    const answer = await cache.begin(
      {
        request,
        raw: request.raw,
        response: reply.raw,
        url: request.originalUrl,
        origin: `${request.protocol}://${request.host}`,
        body: request.body,
      },
      typeof larder === 'object' ? larder : undefined,
    );
    if (answer === undefined) return undefined;
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  app.addHook('onClose', async () => cache.close());
}

// Without this the hook would see only routes of the plugin itself.
Object.assign(larderCache, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'larder-cache',
});

export default larderCache;
