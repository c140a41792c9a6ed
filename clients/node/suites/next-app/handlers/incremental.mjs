import { createCacheHandler } from 'larder-cache/next';

export default createCacheHandler({ namespace: process.env.LARDER_NEXT_NAMESPACE });
