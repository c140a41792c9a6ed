import { createUseCacheHandler } from 'larder-cache/next';

export default createUseCacheHandler({
  // A busy machine takes its time.
  connection: { preset: 'local' },
  namespace: process.env.LARDER_NEXT_NAMESPACE,
});
