import { createCacheHandler } from 'larder-cache/next';

export default createCacheHandler({
  // A busy machine takes its time.
  connection: { preset: 'local' },
  namespace: process.env.LARDER_NEXT_NAMESPACE,
});
