import { createUseCacheHandler } from 'larder-cache/next';

export default createUseCacheHandler({ namespace: process.env.LARDER_NEXT_NAMESPACE });
